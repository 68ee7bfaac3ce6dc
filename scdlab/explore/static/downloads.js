// Buttons that save what the kernel sends, and a line that says when the kernel does not answer.
//
// A click asks the kernel for a file; the answer is its name, its type and its bytes. A picture
// comes as svg and is drawn into a png here, where there is a browser to draw it.

const PATIENCE = 6000; // ms that an answer may take while nothing else runs

function save(name, blob) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function drawn(svg, scale) {
    return new Promise((resolve, reject) => {
        const image = new Image();
        image.onload = () => {
            const canvas = document.createElement("canvas");
            canvas.width = scale * image.width;
            canvas.height = scale * image.height;
            const pen = canvas.getContext("2d");
            pen.fillStyle = "white";
            pen.fillRect(0, 0, canvas.width, canvas.height);
            pen.drawImage(image, 0, 0, canvas.width, canvas.height);
            canvas.toBlob(resolve, "image/png");
        };
        image.onerror = () => reject(new Error("the picture could not be drawn"));
        image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
    });
}

function render({ model, el }) {
    el.classList.add("scdlab-downloads");
    const line = document.createElement("span");
    line.setAttribute("role", "status");
    line.className = "said";
    let waiting;
    const say = (words, trouble = false) => {
        line.textContent = words;
        line.classList.toggle("trouble", trouble);
    };
    const ask = (what) => {
        clearTimeout(waiting);
        waiting = setTimeout(
            () =>
                say(
                    "The kernel does not answer: it is busy, or it has stopped. If it stays so, " +
                        "restart it and run all cells again.",
                    true,
                ),
            PATIENCE,
        );
        try {
            model.send({ ask: what });
        } catch {
            say("The kernel has stopped: restart it and run all cells again.", true);
        }
    };
    for (const kind of model.get("kinds")) {
        const button = document.createElement("button");
        button.textContent = `save ${kind}`;
        button.className = "jupyter-button lm-Widget";
        button.addEventListener("click", () => {
            say(`${kind} …`);
            ask(kind);
        });
        el.append(button);
    }
    el.append(line);
    const heard = async (message, buffers) => {
        clearTimeout(waiting);
        if (message.error) {
            say(message.error, true);
        } else if (message.file) {
            const bytes = buffers[0];
            try {
                const blob =
                    message.type === "image/png"
                        ? await drawn(new TextDecoder().decode(bytes), 2)
                        : new Blob([bytes], { type: message.type });
                save(message.file, blob);
                say(`saved ${message.file}`);
            } catch (error) {
                say(`${message.file}: ${error.message}`, true);
            }
        } else if (line.classList.contains("trouble")) {
            say("");
        }
    };
    model.on("msg:custom", heard);
    const beat = setInterval(() => el.isConnected && ask("alive"), 20_000);
    return () => {
        clearInterval(beat);
        clearTimeout(waiting);
        model.off("msg:custom", heard);
    };
}

export default { render };
