"use strict";
/* QQ plots of joint tests: observed against expected −log10 p, with the band of independent tests.
   `Leadlight.qq(element, list)`, a list as report/qq_data.py makes it. SVG: colours are the page's. */
Leadlight.qq = (element, list) => {
  const { make } = Leadlight;
  const SIZE = 240, LEFT = 40, BOTTOM = 34, TOP = 10, RIGHT = 10;
  const holder = make("div", { class: "qq" });
  for (const one of list) {
    const right = Math.max(...one.expected) * 1.02, top = Math.max(8, ...one.observed) * 1.04;
    const x = (v) => LEFT + (v / right) * (SIZE - LEFT - RIGHT);
    const y = (v) => SIZE - BOTTOM - (Math.min(v, top) / top) * (SIZE - TOP - BOTTOM);
    const ticks = (end) => [0, end / 2, end].map((v) => Math.round(v * 10) / 10);
    const band = one.expected.map((v, i) => `${x(v)},${y(one.low[i])}`)
      .concat(one.expected.map((v, i) => `${x(v)},${y(one.high[i])}`).reverse()).join(" ");
    const title = `QQ plot of the joint test of ${one.label}: largest observed −log10 p ${one.observed[0]} where ${one.expected[0]} is expected; λGC ${one.inflation}.`;
    holder.append(make("figure", {},
      make("svg:svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img", "aria-label": title },
        make("svg:polygon", { class: "qq-band", points: band }),
        make("svg:line", { class: "qq-line", x1: x(0), y1: y(0), x2: x(right), y2: y(Math.min(right, top)) }),
        make("svg:path", { class: "qq-axis", d: `M${LEFT} ${TOP}V${SIZE - BOTTOM}H${SIZE - RIGHT}` }),
        one.expected.map((v, i) => make("svg:circle", { class: "qq-dot", cx: x(v), cy: y(one.observed[i]), r: 2 })),
        ticks(right).map((v) => make("svg:text", { x: x(v), y: SIZE - BOTTOM + 14, class: "qq-tick middle" }, String(v))),
        ticks(top).map((v) => make("svg:text", { x: LEFT - 5, y: y(v) + 4, class: "qq-tick end" }, String(v))),
        make("svg:text", { x: (SIZE + LEFT) / 2, y: SIZE - 4, class: "qq-tick middle" }, "expected −log₁₀ p")),
      make("figcaption", {}, make("strong", {}, `${one.label}${one.null ? ", null control" : ""}.`), ` λGC ${one.inflation}, ${one.variants.toLocaleString("en")} variants; the band holds 95 % of independent tests.`)));
  }
  element.append(holder);
};
