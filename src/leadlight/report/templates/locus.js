"use strict";
/* The card of a locus in the page: where it is, what it moves, its ECG and the classifier's answer.
   `Leadlight.locus(element, locus, {zoom})`, a locus as report/locus_data.py makes it. */
(() => {
  const { make, number } = Leadlight;
  const percent = (share) => `${Math.round(100 * share)} %`;
  const list = (items, most) => items.slice(0, most).join(", ") + (items.length > most ? ", …" : "");

  /* A line of interval and a mark, on a scale from −limit to limit; told by the words beside it. */
  const bar = (low, value, high, limit) => {
    const x = (v) => 60 + 56 * Math.max(-1, Math.min(1, v / limit));
    return make("svg:svg", { viewBox: "0 0 120 16", "aria-hidden": "true", focusable: "false" },
      make("svg:line", { class: "bar-line", x1: 60, x2: 60, y1: 0, y2: 16 }),
      make("svg:line", { class: "bar-reach", x1: x(low), x2: x(high), y1: 8, y2: 8 }),
      make("svg:circle", { class: value > 0 ? "bar-up" : "bar-down", cx: x(value), cy: 8, r: 4 }));
  };

  const table = (caption, heads, rows) => make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": caption },
    make("table", {},
      make("caption", {}, caption),
      make("thead", {}, make("tr", {}, heads.map((text) => make("th", { scope: "col" }, text)))),
      make("tbody", {}, rows.map(({ clear, cells: [head, ...rest] }) => make("tr", { class: clear ? "clear" : null },
        make("th", { scope: "row" }, head), rest.map((one) => make("td", {}, one)))))));

  const interval = (one) => {
    const digits = Math.max(Math.abs(one.low), Math.abs(one.high)) >= 0.1 ? 2 : 3;
    const text = (v) => v.toFixed(digits).replace("-", "−");
    return `${one.change > 0 ? "+" : ""}${text(one.change)} [${text(one.low)}, ${text(one.high)}]`;
  };

  const changes = (effect) => {
    const limit = Math.max(5, ...effect.changes.map((one) => Math.abs(one.z) + 2));
    return table(`Intervals, axes and voltages, per ${effect.step}, with 95 % intervals; the dot lies at the change in its standard errors`,
      ["Measurement", "Change", "In standard errors"],
      effect.changes.map((one) => ({ clear: one.clear, cells: [one.name, one.text, bar(one.z - 1.96, one.z, one.z + 1.96, limit)] })));
  };

  const logits = (effect) => {
    const strip = new Map(effect.strip.map((one) => [one.class, one.change]));
    const known = effect.logits.length ? effect.logits
      : effect.strip.map((one) => ({ class: one.class, change: null }));
    const limit = Math.max(0.05, ...effect.logits.flatMap((one) => [Math.abs(one.low), Math.abs(one.high)]));
    return table(`The classifier’s logits, per ${effect.step}: of people with 95 % intervals, and of the mean beat’s strip`,
      ["Class", "People", "Interval", "Strip"],
      known.map((one) => ({ clear: one.clear, cells: [one.class,
        one.change === null ? "n/a" : interval(one),
        one.change === null ? "" : bar(one.low, one.change, one.high, limit),
        number(strip.get(one.class) ?? null, 2)] })));
  };

  const factors = (rows) => {
    const sure = [...rows].sort((a, b) => Math.abs(b.z) - Math.abs(a.z)).slice(0, 12);
    const limit = Math.max(6, ...sure.map((one) => Math.abs(one.z)));
    return table(`The ${sure.length} factors of ${rows.length} that move most surely`, ["Factor", "z", "Drawn"],
      sure.map((one) => ({ clear: Math.abs(one.z) > 1.96, cells: [
        one.follows ? `${one.name} (${one.follows})` : one.name, number(one.z), bar(0, one.z, one.z, limit)] })));
  };

  const shifts = (locus) => {
    const sure = [...locus.shifts].sort((a, b) => b.p - a.p).slice(0, 14);
    return table(`What the lead variant does to single traits, per copy of ${locus.allele}, with 95 % intervals: the ${sure.length} surest of ${locus.shifts.length}`,
      ["Trait", "Set", "Effect", "−log₁₀ p"],
      sure.map((one) => ({ clear: one.p >= 7.3, cells: [one.trait, one.label,
        interval({ change: one.beta, low: one.beta - 1.96 * one.error, high: one.beta + 1.96 * one.error }), number(one.p)] })));
  };

  const facts = (locus) => {
    const effect = locus.effect;
    const said = [`Chromosome ${locus.chromosome}, ${locus.position.toLocaleString("en")}; the locus spans ${locus.start.toLocaleString("en")} to ${locus.end.toLocaleString("en")}.`];
    if (locus.gene) said.push(`Nearest gene ${locus.gene}${locus.gene_distance ? ` (${locus.gene_distance.toLocaleString("en")} bp away)` : locus.gene_distance === 0 ? " (inside)" : ""}${locus.genes.length > 1 ? `; genes in it: ${list(locus.genes, 10)}` : ""}.`);
    if (effect && effect.allele) said.push(`Counted allele ${effect.allele} (other ${effect.other}), frequency ${number(effect.frequency)}, ${effect.n.toLocaleString("en")} people.`);
    said.push(`−log₁₀ p ${number(locus.p)} of ${locus.trait} in ${locus.label}; seen by ${list(locus.labels, 6)}: ${list(locus.traits, 8)}.`);
    for (const one of (locus.credible || []).slice(0, 3)) {
      const covers = one.coverage > 0.995 ? "over 99 %" : percent(one.coverage);
      said.push(`Credible set of ${one.trait} (covers ${covers}): ${one.size} variant${one.size === 1 ? "" : "s"}, likeliest ${one.variant} (probability ${number(one.probability, 2)}).`);
    }
    said.push(locus.known
      ? `Near published loci of ${list(locus.published.traits, 5)} (${list(locus.published.references, 3)}).`
      : "Near no published ECG locus.");
    return said;
  };

  Leadlight.locus = (element, locus, { zoom = null } = {}) => {
    const { effect } = locus;
    const title = `${locus.name}${locus.name === locus.lead ? "" : ` (${locus.lead})`}`;
    const parts = [make("h4", { tabindex: "-1" }, title), make("p", {}, facts(locus).join(" "))];
    if (zoom) parts.push(make("button", { type: "button", onclick: zoom }, "Zoom the plot to it"));
    if (effect) {
      const drawing = make("div", { class: "effect-ecg" });
      parts.push(make("h5", {}, "What it does to the ECG"), drawing);
      parts.push(make("div", { class: "columns" }, make("div", {}, changes(effect)),
        make("div", {}, logits(effect), effect.factors.length ? factors(effect.factors) : null)));
      if (effect.where) parts.push(make("p", {}, `On the strip, ${effect.where.class} changes most, and the network finds it in ${effect.where.parts.map((one) => `${one.wave} of ${one.lead} (${percent(one.share)}, ${one.sign > 0 ? "for" : "against"})`).join(", ")} of its absolute relevance.`));
      if (locus.shifts.length) parts.push(make("details", {}, make("summary", {}, "Single traits"), shifts(locus)));
      parts.push(make("p", { class: "not-shown" }, make("strong", {}, "What this does not show. "),
        "A variant that was picked for being significant looks larger than it is (winner’s curse), and stands for its neighbours in linkage. Bands are for this one drawing: who looks at many sees some miss by chance. A logit is no disease."));
      element.append(make("section", { class: "locus", "aria-label": `Locus ${title}` }, parts));
      if (Leadlight.ecgEffect) Leadlight.ecgEffect(drawing, effect);
    } else {
      if (locus.shifts.length) parts.push(shifts(locus));
      parts.push(make("p", { class: "absent" }, "Its ECG has not been drawn: leadlight effect --variant, or [effect] in a study file with a larger number, draws it."));
      element.append(make("section", { class: "locus", "aria-label": `Locus ${title}` }, parts));
    }
    if (locus.card) element.firstElementChild.append(make("p", {}, make("a", { href: locus.card }, `The whole card of ${title}`)));
  };
})();
