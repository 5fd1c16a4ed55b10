"use strict";
/* The decoder of a factor model: factors in standard deviations to a 12-lead beat in millivolt.
   It reads `decoder.safetensors` (see leadlight/latent/decoder_file.py for its tensors) and
   computes in double precision, as exact as the file. */
Leadlight.decoder = (() => {
  /* Number types of a safetensors file. */
  const VALUES = {
    F32: (raw) => Float32Array.from({ length: raw.byteLength / 4 }, (_, i) => raw.getFloat32(4 * i, true)),
    F16: (raw) => {
      const out = new Float32Array(raw.byteLength / 2);
      for (let i = 0; i < out.length; i += 1) {
        const bits = raw.getUint16(2 * i, true);
        const [power, digits] = [(bits >> 10) & 31, bits & 1023];
        const size = power ? (1024 + digits) * 2 ** (power - 25) : digits * 2 ** -24;
        out[i] = bits >> 15 ? -size : size;
      }
      return out;
    },
    I8: (raw) => new Int8Array(raw.buffer, raw.byteOffset, raw.byteLength),
  };

  /** The error function to some 15 digits, by its series of terms of one sign. */
  function erf(x) {
    const size = Math.abs(x);
    if (size > 6) return Math.sign(x);
    let term = size;
    let sum = size;
    for (let n = 1; term > sum * 1e-17; n += 1) {
      term *= (2 * size * size) / (2 * n + 1);
      sum += term;
    }
    return Math.sign(x) * Math.min(1, (2 / Math.sqrt(Math.PI)) * Math.exp(-size * size) * sum);
  }

  /** The activation of the network's layers, in its exact form. */
  function gelu(x) {
    return 0.5 * x * (1 + erf(x * Math.SQRT1_2));
  }

  return (text, model) => {
    const LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"];
    const tensors = read(Leadlight.bytes(text).buffer);
    const part = (name) => tensors.get(name).values;
    const samples = model.samples;
    const nFactors = tensors.get("dense_1.weight").shape[1];
    const centre = part("centre");
    const points = centre.length;
    const basis = wholeBasis();

    /** The file's header is JSON behind its length in eight bytes; the tensors follow it. */
    function read(buffer) {
      const view = new DataView(buffer);
      const length = Number(view.getBigUint64(0, true));
      const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
      const found = new Map();
      for (const [name, about] of Object.entries(header)) {
        if (name === "__metadata__") continue;
        const [from, to] = about.data_offsets;
        const raw = new DataView(buffer, 8 + length + from, to - from);
        found.set(name, { shape: about.shape, values: VALUES[about.dtype](raw) });
      }
      return found;
    }

    /** A layer: weight (out, in) · values + bias. */
    function layer(name, values, bias) {
      const weight = part(`${name}.weight`);
      const out = new Float64Array(weight.length / values.length);
      let at = 0;
      for (let row = 0; row < out.length; row += 1) {
        let sum = bias ? bias[row] : 0;
        for (let column = 0; column < values.length; column += 1) sum += weight[at++] * values[column];
        out[row] = sum;
      }
      return out;
    }

    /** (lead, sample) of the eight independent leads, one behind the other. */
    function independent(factors) {
      if (factors.length !== nFactors) throw Error(`${factors.length} factors instead of ${nFactors}`);
      const first = layer("dense_1", factors, part("dense_1.bias")).map(gelu);
      const hidden = layer("dense_2", first, part("dense_2.bias")).map(gelu);
      const components = layer("linear", factors, part("linear.bias"));
      layer("bend", hidden).forEach((bent, at) => { components[at] += bent; });
      const beat = Float64Array.from(centre);
      // Four at a time: the beat is then read and written a fourth as often.
      for (let one = 0; one < components.length; one += 4) {
        const [a, b, c, d] = [0, 1, 2, 3].map((k) => components[one + k] || 0);
        const from = one * points;
        for (let i = 0; i < points; i += 1) {
          const at = from + i;
          beat[i] += a * basis[at] + b * basis[at + points] + c * basis[at + 2 * points] +
            d * basis[at + 3 * points];
        }
      }
      return beat;
    }

    /** (component, point): the fine rows, the coarse ones times their steps, zeros to a fourth row. */
    function wholeBasis() {
      const [fine, coarse, scale] = ["basis_fine", "basis_coarse", "basis_coarse.scale"].map(part);
      const rows = (fine.length + coarse.length) / points;
      const whole = new Float32Array(Math.ceil(rows / 4) * 4 * points);
      whole.set(fine);
      for (let at = 0; at < coarse.length; at += 1) {
        whole[fine.length + at] = coarse[at] * scale[Math.floor(at / samples)];
      }
      return whole;
    }

    /** Twelve arrays in the order of `leads`; the four derived ones follow from I and II alone. */
    function twelve(factors) {
      const beat = independent(factors);
      const found = {};
      model.leads.forEach((name, at) => {
        found[name] = beat.subarray(at * samples, (at + 1) * samples);
      });
      return Leadlight.withDerivedLeads(found, LEADS);
    }

    return { leads: LEADS, nFactors, independent, twelve };
  };
})();

/** All leads of `order` from arrays of the independent ones. */
Leadlight.withDerivedLeads = (found, order) => {
  const [one, two] = [found.I, found.II];
  const of = (a, b) => one.map((value, at) => a * value + b * two[at]);
  const all = {
    ...found, III: of(-1, 1), aVR: of(-0.5, -0.5), aVL: of(1, -0.5), aVF: of(-0.5, 1),
  };
  return order.map((name) => all[name]);
};
