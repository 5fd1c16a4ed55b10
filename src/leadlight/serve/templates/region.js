"use strict";
/* All variants of a region: −log10 p against place. Zoom with the wheel, by dragging over a stretch,
   or with the buttons; the arrow keys walk over the strongest variants in view.
   data: what serve/region.py gives. */
Leadlight.region = (element, data) => {
  const { make, number } = Leadlight;
  const { first, last, chromosome } = data.place;
  const n = data.drawn;
  const [x, y] = [data.position, data.neg_log_10_p];
  const credible = data.credible;
  const full = [first, Math.max(last, first + 1)];
  let view = [...full];
  let pointed = -1;
  let dragged = null;
  let shape = null;

  const canvas = make("canvas", { role: "img", tabindex: "0" });
  const said = make("p", { class: "pointed", role: "status" });
  const tools = make("div", { class: "tools" },
    make("button", { type: "button", onclick: () => zoom(1 / 2) }, "Zoom in"),
    make("button", { type: "button", onclick: () => zoom(2) }, "Zoom out"),
    make("button", { type: "button", onclick: () => move(-0.4) }, "Left"),
    make("button", { type: "button", onclick: () => move(0.4) }, "Right"),
    make("button", { type: "button", onclick: () => show(full) }, "Whole region"));
  const stage = make("div", { class: "drawn" }, canvas);
  element.append(tools, stage, said);

  const show = ([a, b]) => {
    const length = Math.min(full[1] - full[0], Math.max(200, b - a));
    const start = Math.min(Math.max(a, full[0]), full[1] - length);
    view = [start, start + length];
    soon();
  };
  const zoom = (by, at = (view[0] + view[1]) / 2) =>
    show([at - (at - view[0]) * by, at - (at - view[0]) * by + (view[1] - view[0]) * by]);
  const move = (by) => { const step = by * (view[1] - view[0]); show([view[0] + step, view[1] + step]); };
  const inView = () => {
    const found = [];
    for (let i = 0; i < n; i += 1) if (x[i] >= view[0] && x[i] <= view[1]) found.push(i);
    return found;
  };

  const draw = () => {
    const colours = Leadlight.colours();
    const width = Math.max(200, stage.clientWidth);
    const height = Math.round(Math.min(430, Math.max(260, width * 0.45)));
    const pen = Leadlight.context(canvas, width, height);
    const [left, right, top, bottom] = [44, 10, 12, 34];
    const shown = inView();
    let most = data.genome_wide * 1.15;
    for (const i of shown) if (y[i] > most) most = y[i];
    most *= 1.06;
    const atX = (place) => left + ((place - view[0]) / (view[1] - view[0])) * (width - left - right);
    const atY = (p) => top + (1 - p / most) * (height - top - bottom);
    shape = { atX, atY, left, right, width, height };

    pen.fillStyle = colours.soft;
    for (const locus of data.loci) {
      const [a, b] = [Math.max(left, atX(locus.start)), Math.min(width - right, atX(locus.end))];
      if (b > a) pen.fillRect(a, top, Math.max(1, b - a), height - top - bottom);
    }
    pen.strokeStyle = colours.line;
    pen.fillStyle = colours.quiet;
    pen.textAlign = "right";
    for (const tick of ticks(0, most, Math.max(3, Math.round(height / 70)))) {
      pen.beginPath();
      pen.moveTo(left, atY(tick));
      pen.lineTo(width - right, atY(tick));
      pen.stroke();
      pen.fillText(number(tick), left - 6, atY(tick) + 4);
    }
    pen.textAlign = "center";
    const places = ticks(view[0], view[1], Math.max(2, Math.round(width / 160)));
    for (const place of places) {
      pen.fillText((place / 1e6).toFixed(decimals(places) ), atX(place), height - bottom + 16);
    }
    pen.fillText(`Mb on chromosome ${chromosome}`, (left + width - right) / 2, height - 4);
    pen.textAlign = "left";
    pen.fillText("−log₁₀ p", 4, 10);
    pen.strokeStyle = colours.control;
    pen.setLineDash([5, 4]);
    pen.beginPath();
    pen.moveTo(left, atY(data.genome_wide));
    pen.lineTo(width - right, atY(data.genome_wide));
    pen.stroke();
    pen.setLineDash([]);
    const size = shown.length > 6000 ? 1.5 : shown.length > 1500 ? 2 : 2.8;
    for (const i of shown) {
      const strong = y[i] >= data.genome_wide;
      pen.fillStyle = strong ? colours.case : colours.neutral;
      const r = strong ? size + 0.8 : size;
      pen.beginPath();
      pen.arc(atX(x[i]), atY(y[i]), r, 0, 7);
      pen.fill();
      if (data.id[i] in credible) {  // a ring, so that it is not told by colour alone
        pen.strokeStyle = colours.ink;
        pen.lineWidth = 1;
        pen.beginPath();
        pen.arc(atX(x[i]), atY(y[i]), r + 2.2, 0, 7);
        pen.stroke();
      }
    }
    if (pointed >= 0) {
      pen.strokeStyle = colours.ink;
      pen.lineWidth = 1.5;
      pen.beginPath();
      pen.arc(atX(x[pointed]), atY(y[pointed]), 6, 0, 7);
      pen.stroke();
    }
    if (dragged && Math.abs(dragged[1] - dragged[0]) > 3) {
      pen.fillStyle = colours.accent;
      pen.globalAlpha = 0.15;
      pen.fillRect(Math.min(...dragged), top, Math.abs(dragged[1] - dragged[0]), height - top - bottom);
      pen.globalAlpha = 1;
    }
    const best = shown.reduce((one, i) => (one < 0 || y[i] > y[one] ? i : one), -1);
    canvas.setAttribute("aria-label",
      `${shown.length} variants from ${Math.round(view[0])} to ${Math.round(view[1])} on chromosome ` +
      `${chromosome}, ${data.trait} of ${data.set}. ` +
      (best < 0 ? "" : `The strongest is ${name(best)} with −log10 p ${number(y[best])}. `) +
      "The table below lists the strongest of the region.");
  };

  const name = (i) => data.id[i] || `${chromosome}:${x[i]}`;
  const point = (i) => {
    pointed = i;
    said.textContent = i < 0 ? "" :
      `${name(i)}: position ${x[i]}, ${data.effect[i] || "?"} / ${data.other[i] || "?"}, ` +
      `−log₁₀ p ${number(y[i], 4)}` +
      (data.id[i] in credible ? `, in a credible set with ${number(credible[data.id[i]])}` : "");
    soon();
  };
  const nearest = (event) => {
    const box = canvas.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let best = -1;
    let distance = 400;
    for (const i of inView()) {
      const d = (shape.atX(x[i]) - px) ** 2 + (shape.atY(y[i]) - py) ** 2;
      if (d < distance) [best, distance] = [i, d];
    }
    return best;
  };
  const placeOf = (px) =>
    view[0] + ((px - shape.left) / (shape.width - shape.left - shape.right)) * (view[1] - view[0]);

  canvas.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && event.button === 0) dragged = [event.offsetX, event.offsetX];
  });
  canvas.addEventListener("pointermove", (event) => {
    if (dragged) { dragged[1] = event.offsetX; soon(); } else point(nearest(event));
  });
  addEventListener("pointerup", () => {
    if (!dragged) return;
    const [a, b] = [Math.min(...dragged), Math.max(...dragged)];
    dragged = null;
    if (b - a > 5) show([placeOf(a), placeOf(b)]); else soon();
  });
  canvas.addEventListener("click", (event) => {
    const i = nearest(event);
    if (i >= 0) point(i);
  });
  canvas.addEventListener("dblclick", (event) => {
    const i = nearest(event);
    if (i >= 0) location.assign(`/variants/${encodeURIComponent(`${chromosome}:${x[i]}`)}`);
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey && document.activeElement !== canvas) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, placeOf(event.offsetX));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const strongest = inView().sort((a, b) => y[b] - y[a]).slice(0, 200).sort((a, b) => x[a] - x[b]);
    const at = strongest.indexOf(pointed);
    const keys = {
      ArrowRight: () => point(strongest[Math.min(at + 1, strongest.length - 1)] ?? -1),
      ArrowLeft: () => point(strongest[Math.max(at - 1, 0)] ?? -1),
      "+": () => zoom(1 / 2), "-": () => zoom(2), Home: () => show(full),
      Enter: () => pointed >= 0 && location.assign(
        `/variants/${encodeURIComponent(`${chromosome}:${x[pointed]}`)}`),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });

  /** Round ticks between two values. */
  const ticks = (low, high, count) => {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((one) => one * power >= rough) * power;
    const found = [];
    for (let at = Math.ceil(low / step) * step; at <= high; at += step) found.push(at);
    return found;
  };
  const decimals = (places) => {
    const step = places.length > 1 ? (places[1] - places[0]) / 1e6 : 1;
    return Math.min(6, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)));
  };
  const soon = Leadlight.watch(stage, draw);
};
