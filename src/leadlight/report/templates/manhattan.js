"use strict";
/* The Manhattan plot: zoomed by buttons, keys, wheel and pinch; loci are buttons on it and open a
   card below. `Leadlight.manhattan(element, data)`, data as report/manhattan_data.py makes it. */
(() => {
  const { make, number } = Leadlight;
  const NARROWEST = 20000; // base pairs
  const LEFT = 48, RIGHT = 10, TOP = 34, BOTTOM = 30;

  const place = (chromosome, position) => `${chromosome}:${position.toLocaleString("en")}`;

  /* Chromosomes side by side, each as far as variants were tested, with gaps between them. */
  const layOut = (chromosomes) => {
    const whole = chromosomes.reduce((sum, one) => sum + one.end - one.start + 1, 0);
    const gap = chromosomes.length > 1 ? 0.004 * whole : 0;
    let before = 0;
    const laid = chromosomes.map((one) => {
      const from = before;
      before += one.end - one.start + 1 + gap;
      return { ...one, from, to: before - gap };
    });
    return { chromosomes: laid, end: Math.max(1, before - gap) };
  };

  const decode = (layer, genome) => {
    if (layer.points) return layer.points;
    const chromosome = Leadlight.bytes(layer.chromosome);
    const position = new Uint32Array(Leadlight.bytes(layer.position).buffer);
    const hundredths = new Uint16Array(Leadlight.bytes(layer.p).buffer);
    const n = chromosome.length;
    const x = new Float64Array(n), p = new Float32Array(n);
    for (let i = 0; i < n; i += 1) {
      const one = genome.chromosomes[chromosome[i]];
      x[i] = one.from + position[i] - one.start;
      p[i] = hundredths[i] / 100;
    }
    layer.points = { n, chromosome, position, x, p, trait: Leadlight.bytes(layer.trait) };
    return layer.points;
  };

  const choice = (label, options, onchange) => {
    const select = make("select", { onchange: () => onchange(select.value) },
      options.map(([value, text]) => make("option", { value }, text)));
    return { select, label: make("label", {}, `${label} `, select) };
  };

  Leadlight.manhattan = (element, data) => {
    const genome = layOut(data.chromosomes);
    /* It begins with the set and the test that see the strongest locus. */
    const strongest = data.loci[0];
    const start = Math.max(0, data.sets.findIndex((one) => (strongest ? one.name === strongest.label : !one.null)));
    const test = strongest && strongest.trait !== "joint" ? "least" : "joint";
    const layer = Math.max(0, data.sets[start].layers.findIndex((one) => one.test === test));
    const state = { set: start, layer, trait: -1, from: 0, to: genome.end, chosen: null, tip: null };
    const loci = data.loci.map((one) => {
      const chromosome = genome.chromosomes.find((c) => c.name === one.chromosome);
      return { ...one, x: chromosome ? chromosome.from + one.position - chromosome.start : null };
    }).filter((one) => one.x !== null);

    /* Controls. */
    const testNames = { joint: "joint test of all its traits", least: "least p of its single traits" };
    const sets = choice("Traits", data.sets.map((one, at) => [at,
      `${one.name} (${one.traits.length})${one.null ? ", null control" : ""}`]), (value) => {
      state.set = Number(value);
      fillTests();
      draw();
    });
    const tests = choice("Test", [], (value) => { state.layer = Number(value); draw(); });
    const traits = choice("Mark", [], (value) => { state.trait = Number(value); draw(); });
    const where = choice("Show", [["", "the whole genome"],
      ...genome.chromosomes.map((one, at) => [at, `chromosome ${one.name}`])], (value) => {
      if (value === "") see(0, genome.end);
      else see(genome.chromosomes[value].from, genome.chromosomes[value].to);
    });
    const found = choice("Locus", [["", loci.length ? "choose one" : "none"],
      ...loci.map((one) => [one.locus, `${one.name}, ${place(one.chromosome, one.position)}`])],
    (value) => { if (value !== "") choose(Number(value), false); });
    const fillTests = () => {
      const set = data.sets[state.set];
      tests.select.replaceChildren(...set.layers.map((one, at) =>
        make("option", { value: at }, testNames[one.test] || one.test)));
      state.layer = Math.min(state.layer, set.layers.length - 1);
      tests.select.value = String(state.layer);
      traits.select.replaceChildren(make("option", { value: -1 }, "no trait"),
        ...set.traits.map((name, at) => make("option", { value: at }, `where ${name} is strongest`)));
      state.trait = -1;
    };
    sets.select.value = String(state.set);
    fillTests();
    tests.select.value = String(state.layer);
    const button = (text, name, onclick) =>
      make("button", { type: "button", "aria-label": name, title: name, onclick }, text);
    const buttons = make("span", { class: "buttons" },
      button("+", "Zoom in", () => zoom(0.5)), button("−", "Zoom out", () => zoom(2)),
      button("←", "Move left", () => move(-0.4)), button("→", "Move right", () => move(0.4)),
      button("Whole", "Show the whole genome", () => see(0, genome.end)));
    const canvas = make("canvas", { role: "img" });
    const marks = make("div", { class: "mh-marks", role: "group", "aria-label": "Loci in view" });
    const tip = make("div", { class: "mh-tip", hidden: true });
    const plot = make("div", { class: "mh-plot", tabindex: "0", role: "group",
      "aria-label": "Manhattan plot: plus and minus zoom, arrows move, 0 shows the whole genome" },
    canvas, marks, tip);
    const said = make("p", { class: "mh-said small", role: "status" });
    const card = make("div", { class: "mh-card" });
    element.append(
      make("div", { class: "controls" }, sets.label, tests.label, traits.label, where.label, found.label, buttons),
      plot, said,
      make("p", { class: "small help" }, "Buttons, or + − 0 and the arrow keys, zoom and move; drag and pinch do too, and so does the wheel once the plot has been clicked. Triangles are loci: Tab goes to them, arrows from one to the next, Enter opens."),
      card);

    /* The view. */
    const see = (from, to) => {
      let width = Math.min(genome.end, Math.max(NARROWEST, to - from));
      if (genome.end < NARROWEST) width = genome.end;
      const middle = (from + to) / 2;
      state.from = Math.min(Math.max(0, middle - width / 2), genome.end - width);
      state.to = state.from + width;
      state.tip = null;
      draw();
    };
    const zoom = (by, share = 0.5) => {
      const at = state.from + share * (state.to - state.from);
      see(at - (at - state.from) * by, at + (state.to - at) * by);
    };
    const move = (by) => {
      const step = by * (state.to - state.from);
      see(state.from + step, state.to + step);
    };

    let frame = null; // what is drawn: scales and the marks' places
    const render = () => {
      const colours = Leadlight.colours();
      const width = plot.clientWidth, height = Math.round(Math.min(460, Math.max(280, 0.42 * width)));
      const set = data.sets[state.set], layer = set.layers[state.layer];
      const points = decode(layer, genome);
      const [inner, span] = [width - LEFT - RIGHT, state.to - state.from];
      const toX = (x) => LEFT + ((x - state.from) / span) * inner;
      let top = 8;
      for (let i = 0; i < points.n; i += 1) {
        if (points.x[i] >= state.from && points.x[i] <= state.to && points.p[i] > top) top = points.p[i];
      }
      top *= 1.06;
      const toY = (p) => height - BOTTOM - (p / top) * (height - TOP - BOTTOM);
      const pen = Leadlight.context(canvas, width, height);
      drawAxes(pen, { width, height, top, toX, toY, colours, span });
      /* Points: two shades by turns, hits darker, the marked trait in its own colour. */
      const shades = [colours.quiet, Leadlight.dark() ? "#6d7681" : "#a9b1b9"];
      const size = width < 500 ? 2 : 2.5;
      let shown = 0;
      for (const hits of [false, true]) {
        for (let i = 0; i < points.n; i += 1) {
          const hit = points.p[i] >= data.genome_wide;
          if (hit !== hits || points.x[i] < state.from || points.x[i] > state.to) continue;
          shown += 1;
          const marked = state.trait >= 0 && points.trait[i] === state.trait;
          pen.fillStyle = marked ? colours.series2 : hit && state.trait < 0 ? colours.accent
            : shades[points.chromosome[i] % 2];
          const s = marked || hit ? size + 1 : size;
          pen.fillRect(toX(points.x[i]) - s / 2, toY(points.p[i]) - s / 2, s, s);
        }
      }
      frame = { width, height, toX, toY, points, layer, set, span };
      drawMarks(pen, colours);
      tell(shown);
    };

    const drawAxes = (pen, { width, height, top, toX, toY, colours, span }) => {
      pen.textBaseline = "middle";
      pen.fillStyle = colours.quiet;
      pen.strokeStyle = colours.line;
      pen.lineWidth = 1;
      const step = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((one) => top / one <= 7) || 1000;
      pen.textAlign = "right";
      for (let p = 0; p <= top; p += step) {
        pen.beginPath(); pen.moveTo(LEFT, toY(p)); pen.lineTo(width - RIGHT, toY(p)); pen.stroke();
        pen.fillText(String(p), LEFT - 6, toY(p));
      }
      pen.save();
      pen.translate(9, (TOP + height - BOTTOM) / 2);
      pen.rotate(-Math.PI / 2);
      pen.textAlign = "center";
      pen.fillText("−log₁₀ p", 0, 0);
      pen.restore();
      for (const [p, colour] of [[data.genome_wide, colours.for], [data.suggestive, colours.neutral]]) {
        if (p > top) continue;
        pen.setLineDash([5, 4]); pen.strokeStyle = colour;
        pen.beginPath(); pen.moveTo(LEFT, toY(p)); pen.lineTo(width - RIGHT, toY(p)); pen.stroke();
      }
      pen.setLineDash([]);
      pen.textAlign = "center"; pen.fillStyle = colours.quiet; pen.strokeStyle = colours.line;
      const bottom = height - BOTTOM;
      let last = -100;
      for (const one of genome.chromosomes) {
        const [from, to] = [Math.max(LEFT, toX(one.from)), Math.min(width - RIGHT, toX(one.to))];
        if (to <= LEFT || from >= width - RIGHT) continue;
        pen.beginPath(); pen.moveTo(from, bottom + 3); pen.lineTo(to, bottom + 3); pen.stroke();
        const middle = (from + to) / 2, room = pen.measureText(one.name).width + 6;
        if (to - from > 160) {
          const scale = span / (width - LEFT - RIGHT);
          const every = [1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 2e7, 5e7]
            .find((bp) => bp / scale > 70) || 1e8;
          const first = Math.ceil((one.start + Math.max(0, state.from - one.from)) / every) * every;
          for (let at = first; at <= one.end; at += every) {
            const x = toX(one.from + at - one.start);
            if (x > width - RIGHT - 20) break;
            if (x < LEFT + 10) continue;
            pen.fillText(`${Number((at / 1e6).toFixed(3))}`, x, bottom + 13);
          }
          pen.fillText(`chromosome ${one.name}, Mb`, middle, height - 5);
        } else if (middle - last >= room) {
          pen.fillText(one.name, middle, bottom + 13);
          last = middle;
        }
      }
    };

    /* Loci: a triangle each, the strongest first; those that would lie on one are left for a zoom. */
    const drawMarks = (pen, colours) => {
      const kept = [], names = [];
      for (const one of loci) {
        if (one.x < state.from || one.x > state.to) continue;
        const x = frame.toX(one.x);
        if (one.locus !== state.chosen && kept.some((other) => Math.abs(other.x - x) < 24)) continue;
        kept.push({ one, x });
      }
      const focused = marks.contains(document.activeElement) ? Number(document.activeElement.dataset.locus) : null;
      pen.textAlign = "center"; pen.textBaseline = "middle";
      for (const { one, x } of kept) {
        pen.fillStyle = one.locus === state.chosen ? colours.ink : colours.case;
        pen.beginPath(); pen.moveTo(x - 6, TOP - 12); pen.lineTo(x + 6, TOP - 12); pen.lineTo(x, TOP - 2); pen.fill();
        pen.fillStyle = colours.ink;
        const half = pen.measureText(one.name).width / 2 + 4;
        const at = Math.min(Math.max(x, LEFT + half), frame.width - RIGHT - half);
        if (names.some(([from, to]) => at - half < to && at + half > from)) continue;
        names.push([at - half, at + half]);
        pen.fillText(one.name, at, TOP - 22);
      }
      kept.sort((a, b) => a.x - b.x);
      marks.replaceChildren(...kept.map(({ one, x }, at) => {
        const mark = make("button", {
          type: "button", class: "mh-mark", "data-locus": one.locus,
          tabindex: (focused === null ? at === 0 : one.locus === focused) ? "0" : "-1",
          "aria-label": `${one.name}, ${place(one.chromosome, one.position)}, −log10 p ${number(one.p)}, ${one.known ? "published" : "new"}`,
          "aria-pressed": String(one.locus === state.chosen),
          onclick: () => choose(one.locus, true),
        });
        mark.style.left = `${x - 12}px`;
        mark.style.top = `${TOP - 16}px`;
        return mark;
      }));
      if (focused !== null) marks.querySelector(`[data-locus="${focused}"]`)?.focus({ preventScroll: true });
    };

    const viewWords = () => {
      if (state.to - state.from >= 0.999 * genome.end) return "the whole genome";
      const inside = genome.chromosomes.filter((c) => c.to > state.from && c.from < state.to);
      if (inside.length !== 1) return `chromosomes ${inside[0].name} to ${inside[inside.length - 1].name}`;
      const base = inside[0].start - inside[0].from;
      const mb = (x) => Number(((x + base) / 1e6).toFixed(3));
      return `chromosome ${inside[0].name}, ${mb(Math.max(state.from, inside[0].from))} to ${mb(Math.min(state.to, inside[0].to))} Mb`;
    };
    const tell = (shown) => {
      const { layer, set } = frame;
      const here = loci.filter((one) => one.x >= state.from && one.x <= state.to).length;
      const text = `${set.name}, ${testNames[layer.test] || layer.test}: ${viewWords()}; ${here} of ${loci.length} loci; ${shown.toLocaleString("en")} points drawn for ${layer.variants.toLocaleString("en")} variants`
        + (layer.hits_left_out ? `; ${layer.hits_left_out} variants below p = 10⁻⁵ beside stronger ones are left out` : "") + ".";
      if (said.textContent !== text) said.textContent = text;
      canvas.setAttribute("aria-label", `Manhattan plot. ${text} The dashed lines are 5 × 10⁻⁸ and 10⁻⁵.`);
      const inside = genome.chromosomes.findIndex((one) => Math.abs(one.from - state.from) < 2 && Math.abs(one.to - state.to) < 2);
      where.select.value = inside >= 0 && genome.chromosomes.length > 1 ? String(inside) : "";
    };

    /* Choosing. */
    const choose = (locus, focus) => {
      const one = loci.find((other) => other.locus === locus);
      if (!one) return;
      state.chosen = locus;
      found.select.value = String(locus);
      card.replaceChildren();
      Leadlight.locus(card, one, { zoom: () => {
        const reach = Math.max(250000, 0.75 * (one.end - one.start));
        see(one.x - reach, one.x + reach);
        plot.scrollIntoView({ block: "center", behavior: Leadlight.still() ? "auto" : "smooth" });
        plot.focus({ preventScroll: true });
      } });
      if (focus) card.querySelector("h4")?.focus();
      draw();
    };
    element.addEventListener("choose-locus", (event) => choose(event.detail, true));

    /* Keys, wheel, drag, pinch, hover. */
    plot.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const at = [...marks.children].indexOf(document.activeElement);
      if (at >= 0 && ["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) {
        const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: marks.children.length - 1 }[event.key];
        const next = marks.children[Math.min(Math.max(0, to), marks.children.length - 1)];
        for (const mark of marks.children) mark.tabIndex = mark === next ? 0 : -1;
        next.focus();
        event.preventDefault();
        return;
      }
      const act = {
        "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": () => see(0, genome.end),
        ArrowLeft: () => move(-0.25), ArrowRight: () => move(0.25),
      }[event.key];
      if (act) { act(); event.preventDefault(); }
    });
    const share = (event) => Math.min(1, Math.max(0,
      (event.clientX - plot.getBoundingClientRect().left - LEFT) / Math.max(1, plot.clientWidth - LEFT - RIGHT)));
    plot.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !plot.contains(document.activeElement)) return;
      event.preventDefault();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) move(event.deltaX / 800);
      else zoom(Math.exp(Math.min(1, Math.max(-1, event.deltaY / 300))), share(event));
    }, { passive: false });
    const held = new Map();
    canvas.addEventListener("pointerdown", (event) => {
      held.set(event.pointerId, event);
      canvas.setPointerCapture(event.pointerId);
      plot.focus({ preventScroll: true });
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = held.get(event.pointerId);
      if (!before) { hover(event); return; }
      held.set(event.pointerId, event);
      if (held.size === 1) {
        const step = ((before.clientX - event.clientX) / (plot.clientWidth - LEFT - RIGHT)) * (state.to - state.from);
        if (step) see(state.from + step, state.to + step);
      } else if (held.size === 2) {
        const other = [...held.values()].find((one) => one.pointerId !== event.pointerId);
        const [was, is] = [Math.abs(before.clientX - other.clientX), Math.abs(event.clientX - other.clientX)];
        if (was > 8 && is > 8) zoom(was / is, (share(event) + share(other)) / 2);
      }
    });
    const release = (event) => held.delete(event.pointerId);
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(name, release);
    canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
    const hover = (event) => {
      const box = canvas.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left, event.clientY - box.top];
      const { points, toX, toY, set } = frame;
      let best = -1, least = 144;
      for (let i = 0; i < points.n; i += 1) {
        if (points.x[i] < state.from || points.x[i] > state.to) continue;
        const far = (toX(points.x[i]) - x) ** 2 + (toY(points.p[i]) - y) ** 2;
        if (far < least) [best, least] = [i, far];
      }
      tip.hidden = best < 0;
      if (best < 0) return;
      const trait = set.traits[points.trait[best]];
      tip.textContent = `${place(genome.chromosomes[points.chromosome[best]].name, points.position[best])}, −log₁₀ p ${points.p[best].toFixed(2)}${trait ? `, ${trait}` : ""}`;
      tip.style.left = `${Math.min(Math.max(4, x + 10), frame.width - 10 - tip.offsetWidth)}px`;
      tip.style.top = `${Math.max(0, y - 30)}px`;
    };

    const draw = Leadlight.watch(plot, render);
    if (loci.length) choose(loci[0].locus, false);
  };
})();
