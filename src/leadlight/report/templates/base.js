"use strict";
/* The one global object of a page's scripts: data, colours, and when to draw again.
   A component is a function `Leadlight.NAME(element, data)` that draws into its element;
   `Leadlight.place()` calls it for every element that asks: data-component="NAME" data-source="DATA".
   Everything works without a network, a build step or a library. */
globalThis.Leadlight = (() => {
  const parsed = new Map();
  const drawings = new Set();
  let printing = false;

  /** What stands in `<script type="application/json" id="data-NAME">`; null where there is none. */
  const data = (name) => {
    if (!parsed.has(name)) {
      const holder = document.getElementById(`data-${name}`);
      parsed.set(name, holder ? JSON.parse(holder.textContent) : null);
    }
    return parsed.get(name);
  };

  const NAMES = [
    "paper", "ink", "quiet", "line", "card", "link", "mark", "mark-line", "soft",
    "trace", "for", "against", "neutral", "case", "control", "accent", "grid-minor", "grid-major",
    "series-1", "series-2", "series-3", "series-4", "series-5", "series-6",
  ];

  /** The CSS custom properties of the scheme in force, in camel case: {ink: "#1f2328", markLine: …}.
      `for` and `against` are relevance that speaks for and against a class, `neutral` their middle. */
  const colours = () => {
    const style = getComputedStyle(document.documentElement);
    const found = {};
    for (const name of NAMES) {
      const key = name.replace(/-(\w)/g, (_, letter) => letter.toUpperCase());
      found[key] = style.getPropertyValue(`--${name}`).trim();
    }
    return found;
  };

  /** Is the scheme in force the dark one? Never while the page is printed. */
  const dark = () => !printing && matchMedia("(prefers-color-scheme: dark)").matches;

  /** Does the reader want no movement? */
  const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  /** Call draw() now, and again when the scheme, the element's width or the pixel ratio changes and
      around printing. Nothing is drawn while the element has no width (in a closed part).
      Returns a function that asks for one more drawing in the next frame. */
  const watch = (element, draw) => {
    let asked = 0;
    let width = -1;
    const now = () => {
      asked = 0;
      width = element.clientWidth;
      if (width > 0) draw();
    };
    const soon = () => { if (!asked) asked = requestAnimationFrame(now); };
    drawings.add({ now, soon });
    new ResizeObserver(() => { if (element.clientWidth !== width) soon(); }).observe(element);
    now();
    return soon;
  };

  const again = (how) => { for (const drawing of drawings) drawing[how](); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => again("soon"));
  const watchRatio = () => {
    matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener(
      "change", () => { again("soon"); watchRatio(); }, { once: true });
  };
  watchRatio();
  /* On paper everything is dark on white: the class makes the colours light before the canvases are
     drawn for it, because the print style itself comes into force too late for scripts. */
  const print = (on) => {
    printing = on;
    document.documentElement.classList.toggle("printing", on);
    again("now");
  };
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));

  /** A canvas's context, its size set in CSS pixels and its points scaled to the screen's. */
  const context = (canvas, width, height) => {
    const ratio = Math.min(3, Math.max(printing ? 2 : 1, devicePixelRatio || 1));
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const drawing = canvas.getContext("2d");
    drawing.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawing.clearRect(0, 0, width, height);
    drawing.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    return drawing;
  };

  const SVG = "http://www.w3.org/2000/svg";

  /** An element with attributes and children; text children are text, never markup.
      `make("button", {type: "button", onclick: f}, "Zoom in")`; a name like "svg:path" makes SVG. */
  const make = (name, attributes = {}, ...children) => {
    const node = name.startsWith("svg:")
      ? document.createElementNS(SVG, name.slice(4))
      : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (typeof value === "function") node.addEventListener(key.replace(/^on/, ""), value);
      else node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return node;
  };

  /** A number for people: so many significant digits, a true minus sign, powers of ten written out. */
  const number = (value, digits = 3) => {
    if (value === null || value === undefined || !Number.isFinite(value)) return "n/a";
    if (value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e6)) {
      const [mantissa, power] = value.toExponential(Math.max(0, digits - 1)).split("e");
      const raised = [...String(Number(power))].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("");
      return `${mantissa.replace("-", "−")} × 10${raised}`;
    }
    return String(Number(value.toPrecision(digits))).replace("-", "−");
  };

  /** Bytes of a base64 text; `int16(text)` and `int8(text)` read them little-endian. */
  const bytes = (text) => {
    const letters = atob(text);
    const found = new Uint8Array(letters.length);
    for (let at = 0; at < letters.length; at += 1) found[at] = letters.charCodeAt(at);
    return found;
  };
  const int8 = (text) => new Int8Array(bytes(text).buffer);
  const int16 = (text) => {
    const raw = new DataView(bytes(text).buffer);
    return Int16Array.from({ length: raw.byteLength / 2 }, (_, i) => raw.getInt16(2 * i, true));
  };

  /** Start every component that the page asks for; one that fails says so and stops no other. */
  const place = () => {
    for (const element of document.querySelectorAll("[data-component]")) {
      const start = Leadlight[element.dataset.component];
      const value = data(element.dataset.source);
      if (!start || value === null) continue;
      try {
        start(element, value);
      } catch (error) {
        element.append(make("p", { class: "absent" }, `This part could not be drawn: ${error.message}`));
        console.error(error);
      }
    }
  };

  return {
    data, colours, dark, still, watch, context, make, number, bytes, int8, int16, place,
    isPrinting: () => printing,
  };
})();
