// The form of one question. All that is judged, is judged in Python; here are fields, labels and focus.

let count = 0;

function make(tag, properties = {}, children = []) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "for" || name === "role") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children);
  return node;
}

function group(legend, name, options) {
  const radios = options.map(([value, words]) => make("label", {}, [
    make("input", { type: "radio", name, value }), make("span", { textContent: words }),
  ]));
  return make("fieldset", {}, [make("legend", { textContent: legend }), ...radios]);
}

function render({ model, el }) {
  const own = `scdlab-guess-${(count += 1)}-${Math.random().toString(36).slice(2)}`;
  const choices = model.get("choices");
  const unit = model.get("unit");
  const legend = unit ? `Your guess, in ${unit}` : "Your guess";
  const question = make("p", { className: "question", id: `${own}-question` }, [
    make("strong", { textContent: "Your guess? " }), model.get("question"),
  ]);
  const note = make("p", { className: "note", id: `${own}-note`, role: "status", "aria-live": "polite" });
  const about = `${question.id} ${note.id}`;
  let field = null;
  let answer = null;
  if (choices.length) {
    answer = group(legend, `${own}-answer`, choices.map((each) => [each, each]));
    answer.setAttribute("aria-describedby", about);
  } else {
    field = make("input", { type: "text", id: `${own}-field`, autocomplete: "off", spellcheck: false, inputMode: "decimal", "aria-describedby": about });
    answer = make("div", { className: "number" }, [
      make("label", { for: field.id, textContent: legend }), field,
    ]);
  }
  const sure = group("How sure are you?", `${own}-sure`, model.get("levels"));
  const button = make("button", { type: "submit", textContent: "Keep my guess" });
  const form = make("form", { className: "scdlab-guess", noValidate: true, "aria-labelledby": question.id },
    [question, answer, sure, button, note]);
  el.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab's keys stay out of the form
  el.replaceChildren(form);

  const chosen = (set) => set.querySelector("input:checked")?.value ?? "";
  const choose = (set, value) => {
    for (const radio of set.querySelectorAll("input")) radio.checked = radio.value === value;
  };
  const fill = () => {
    if (field) field.value = model.get("answer");
    else choose(answer, model.get("answer"));
    choose(sure, model.get("sure"));
  };
  const update = () => {
    const invalid = model.get("invalid");
    note.textContent = model.get("note");
    note.classList.toggle("invalid", invalid);
    if (field) field.setAttribute("aria-invalid", String(invalid));
    const closed = model.get("closed");
    for (const each of form.querySelectorAll("input, button")) each.disabled = closed;
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    model.send({ answer: field ? field.value : chosen(answer), sure: chosen(sure) });
  });
  form.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" && event.target.type === "radio") { // as in a field of text
      event.preventDefault();
      form.requestSubmit();
    }
  });
  for (const name of ["note", "invalid", "closed"]) model.on(`change:${name}`, update);
  fill();
  update();
  return () => {
    for (const name of ["note", "invalid", "closed"]) model.off(`change:${name}`, update);
    el.replaceChildren();
  };
}

export default { render };
