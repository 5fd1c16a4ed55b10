"use strict";
/* An effect as ECG: on each lead the mean beat, and below it the difference with its band.
   `Leadlight.ecgEffect(element, effect)`, an effect as report/locus_data.py makes it. */
(() => {
  const { make, number } = Leadlight;

  Leadlight.ecgEffect = (element, effect) => {
    const { ecg } = effect;
    const read = Object.fromEntries(["reference", "difference", "low", "high", "shrunken"].map(
      (name) => [name, Leadlight.int16(ecg[name])]));
    const n = ecg.samples;
    const at = (name, lead, i) => read[name][lead * n + i] * (name === "reference" ? 1 : ecg.unit_uv);
    let reach = 1;
    let tall = 1;
    for (let i = 0; i < read.low.length; i += 1) {
      if (!ecg.shown[i % n]) continue;
      reach = Math.max(reach, Math.abs(read.low[i]) * ecg.unit_uv, Math.abs(read.high[i]) * ecg.unit_uv);
      tall = Math.max(tall, Math.abs(read.reference[i]));
    }
    const first = ecg.shown.indexOf(1), last = ecg.shown.lastIndexOf(1);
    const canvas = make("canvas", { role: "img" });
    const with_shrunken = make("input", { type: "checkbox" });
    const words = effect.largest
      ? `The surest difference is in ${effect.largest.lead} at ${effect.largest.time_ms.toFixed(0).replace("-", "−")} ms from R: ${number(effect.largest.uv)} µV, 95 % interval ${number(effect.largest.low)} to ${number(effect.largest.high)}.`
      : "";
    canvas.setAttribute("aria-label", `Twelve leads: the mean beat, and below it the difference per ${effect.step} with a 95 % band. ${words}`);
    element.append(canvas,
      make("p", { class: "small" }, `Per ${effect.step}. Grey: mean beat. Below it the difference in µV with its 95 % band, the same scale in all leads (±${number(reach, 2)} µV). ${words} `
        + (effect.reliable ? `Noise lets one expect a correlation of ${number(effect.reliable, 2)} of the drawing with the truth.` : "")),
      make("p", { class: "controls" }, make("label", {}, with_shrunken, " with the shrunken line, the better guess where a locus is weak (dotted)")));

    const draw = Leadlight.watch(element, () => {
      const colours = Leadlight.colours();
      const width = element.clientWidth;
      const columns = width >= 900 ? 4 : width >= 560 ? 3 : 2;
      const order = columns === 4 ? [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11] : [...Array(12).keys()];
      const rows = 12 / columns;
      const [wide, high] = [width / columns, columns === 2 ? 110 : 140];
      const pen = Leadlight.context(canvas, width, rows * high);
      order.forEach((lead, place) => {
        const left = (place % columns) * wide + 4, top = Math.floor(place / columns) * high;
        const x = (i) => left + ((i - first) / Math.max(1, last - first)) * (wide - 12);
        const beatMiddle = top + 0.30 * high, differenceMiddle = top + 0.74 * high;
        const beat = (i) => beatMiddle - (at("reference", lead, i) / tall) * 0.26 * high;
        const y = (value) => differenceMiddle - (value / reach) * 0.22 * high;
        const path = (f) => {
          pen.beginPath();
          for (let i = first; i <= last; i += 1) (i === first ? pen.moveTo(x(i), f(i)) : pen.lineTo(x(i), f(i)));
        };
        pen.lineWidth = 1; pen.strokeStyle = colours.line;
        pen.beginPath(); pen.moveTo(left, y(0)); pen.lineTo(left + wide - 12, y(0)); pen.stroke();
        pen.strokeStyle = colours.neutral; pen.lineWidth = 1.1;
        path(beat); pen.stroke();
        path((i) => y(at("low", lead, i)));
        for (let i = last; i >= first; i -= 1) pen.lineTo(x(i), y(at("high", lead, i)));
        pen.closePath(); pen.fillStyle = colours.accent; pen.globalAlpha = 0.25; pen.fill(); pen.globalAlpha = 1;
        pen.strokeStyle = colours.accent; pen.lineWidth = 1.5;
        path((i) => y(at("difference", lead, i))); pen.stroke();
        if (with_shrunken.checked) {
          pen.setLineDash([2, 3]); pen.strokeStyle = colours.ink; pen.lineWidth = 1.3;
          path((i) => y(at("shrunken", lead, i))); pen.stroke();
          pen.setLineDash([]);
        }
        pen.fillStyle = colours.ink; pen.textAlign = "left"; pen.textBaseline = "top";
        pen.fillText(ecg.leads[lead], left, top + 2);
      });
    });
    with_shrunken.addEventListener("change", draw);
  };
})();
