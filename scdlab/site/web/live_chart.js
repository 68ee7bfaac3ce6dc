// Small charts as svg: lines, points and marks on two labeled axes.

const WIDTH = 420;
const LEFT = 62;
const RIGHT = 12;
const TOP = 26;
const BOTTOM = 40;

/**
 * The svg text of a chart.
 *
 * @param spec {x, y, series, marks, title, height}. x and y: {label, range: [low, high]}, or without
 * a range that of the points; x may have `log`, its points are then powers of ten. series: [{name, points: [[x, y]], color, dash, kind: "line" | "dots"}],
 * colors as custom properties such as "blue". marks: vertical lines [{x, color, label}].
 */
export function chart({ x, y, series, marks = [], title, height = 210 }) {
    const all = series.flatMap((s) => s.points);
    const xs = x.range ?? rangeOf(all.map((p) => p[0]));
    const ys = y.range ?? rangeOf(all.map((p) => p[1]));
    const toX = (v) => LEFT + ((v - xs[0]) / (xs[1] - xs[0])) * (WIDTH - LEFT - RIGHT);
    const toY = (v) => height - BOTTOM - ((v - ys[0]) / (ys[1] - ys[0])) * (height - BOTTOM - TOP);
    const parts = [];
    for (const tick of ticks(ys, 4)) {
        const at = toY(tick).toFixed(1);
        parts.push(`<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}"/>`);
        parts.push(`<text x="${LEFT - 6}" y="${at}" dy="0.35em" text-anchor="end">${nice(tick)}</text>`);
    }
    const powers = (from, to) => Array.from({ length: to - from + 1 }, (_, k) => from + k);
    const below = x.log ? powers(Math.ceil(xs[0]), Math.floor(xs[1])) : ticks(xs, 5);
    for (const tick of below) {
        const at = toX(tick).toFixed(1);
        const text = nice(x.log ? 10 ** tick : tick);
        parts.push(`<text x="${at}" y="${height - BOTTOM + 15}" text-anchor="middle">${text}</text>`);
    }
    const inside = (p) => p.every(Number.isFinite);
    for (const s of series) {
        const color = `var(--${s.color})`;
        const points = s.points.filter(inside);
        if (s.kind === "dots") {
            for (const p of points) {
                const [cx, cy] = [toX(p[0]).toFixed(1), toY(p[1]).toFixed(1)];
                parts.push(`<circle cx="${cx}" cy="${cy}" r="${s.size ?? 3}" fill="${color}"/>`);
            }
        } else {
            const path = points.map((p) => `${toX(p[0]).toFixed(1)},${toY(p[1]).toFixed(1)}`);
            const look = `stroke="${color}" stroke-width="${s.width ?? 2.2}"`;
            const more = `stroke-dasharray="${s.dash ?? ""}" opacity="${s.opacity ?? 1}"`;
            parts.push(`<polyline points="${path.join(" ")}" fill="none" ${look} ${more}/>`);
        }
    }
    for (const mark of marks) {
        const at = toX(Math.min(Math.max(mark.x, xs[0]), xs[1]));
        const end = at > WIDTH / 2;
        parts.push(
            `<line x1="${at}" x2="${at}" y1="${TOP}" y2="${height - BOTTOM}" ` +
                `stroke="var(--${mark.color})" stroke-width="1.6" stroke-dasharray="4 3"/>`,
            `<text x="${end ? at - 4 : at + 4}" y="${TOP + 10}" ` +
                `text-anchor="${end ? "end" : "start"}">${mark.label ?? ""}</text>`,
        );
    }
    const middle = (TOP + height - BOTTOM) / 2;
    parts.push(
        `<path class="axis" d="M${LEFT} ${TOP}V${height - BOTTOM}H${WIDTH - RIGHT}"/>`,
        `<text x="${(LEFT + WIDTH) / 2}" y="${height - 6}" text-anchor="middle">${x.label}</text>`,
        `<text transform="translate(13 ${middle}) rotate(-90)" text-anchor="middle">${y.label}</text>`,
        legend(series),
    );
    return (
        `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${title}">` +
        `<title>${title}</title>${parts.join("")}</svg>`
    );
}

function legend(series) {
    const named = series.filter((s) => s.name);
    let at = LEFT;
    const parts = named.map((s) => {
        const from = at;
        at += 46 + 6.8 * s.name.length;
        const color = `var(--${s.color})`;
        const sign =
            s.kind === "dots"
                ? `<circle cx="${from + 15}" cy="11" r="5" fill="${color}"/>`
                : `<line x1="${from}" x2="${from + 20}" y1="11" y2="11" stroke="${color}" ` +
                  `stroke-width="3" stroke-dasharray="${s.dash ?? ""}"/>`;
        return `${sign}<text x="${from + 25}" y="11" dy="0.35em">${s.name}</text>`;
    });
    return parts.join("");
}

/** The range of numbers, a little wider. */
export function rangeOf(numbers, least = 1e-9) {
    const finite = numbers.filter(Number.isFinite);
    const low = finite.length > 0 ? Math.min(...finite) : 0;
    const high = finite.length > 0 ? Math.max(...finite) : 1;
    const more = Math.max(0.06 * (high - low), least / 2);
    return [low - more, high + more];
}

function ticks([low, high], about) {
    const rough = (high - low) / about;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough);
    const out = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) {
        out.push(k * step);
    }
    return out;
}

/** A number as a reader writes it. */
export function nice(x) {
    return String(Number(x.toPrecision(4))).replace("-", "−");
}

/** A number with so many digits behind the point, and a true minus. */
export function fixed(x, digits = 2) {
    const text = x.toFixed(digits);
    return (/^-0\.?0*$/.test(text) ? text.slice(1) : text).replace("-", "−");
}
