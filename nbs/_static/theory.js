// The formulas of modbook.theory that the picture to play with needs, in the browser.
// tests/test_book.py holds them against modbook.theory.
"use strict";
window.modbookTheory = (() => {
  const LANCZOS = [
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313,
    -176.61502916214059, 12.507343278686905, -0.13857109526572012,
    9.9843695780195716e-6, 1.5056327351493116e-7,
  ];

  // ln Gamma(x), x > 0: Lanczos, or Stirling's series where x is large.
  function lnGamma(x) {
    if (x > 50) {
      return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI)
        + 1 / (12 * x) - 1 / (360 * x ** 3);
    }
    let sum = LANCZOS[0];
    for (let i = 1; i < 9; i++) sum += LANCZOS[i] / (x - 1 + i);
    const t = x + 6.5;
    return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum);
  }

  // A continued fraction, by Lentz's method: b0 + a1 / (b1 + a2 / (b2 + ...)).
  function fraction(term, limit = 500) {
    const tiny = 1e-300;
    let f = tiny, C = f, D = 0;
    for (let i = 1; i <= limit; i++) {
      const [a, b] = term(i);
      D = b + a * D;
      C = b + a / C;
      D = 1 / (Math.abs(D) < tiny ? tiny : D);
      if (Math.abs(C) < tiny) C = tiny;
      f *= C * D;
      if (Math.abs(C * D - 1) < 1e-12) break;
    }
    return f;
  }

  // [P(beta_a,b < x), its slope in ln(x / y)], with y = 1 - x.
  function beta(a, b, x, y) {
    if (x <= 0) return [0, 0];
    const scale = Math.exp(
      lnGamma(a + b) - lnGamma(a) - lnGamma(b) + a * Math.log(x) + b * Math.log(y));
    const part = (a, b, x) => scale / a * fraction((i) => {
      if (i === 1) return [1, 1];
      const k = i - 1, h = k >> 1;
      return [k % 2
        ? -(a + h) * (a + b + h) * x / ((a + 2 * h) * (a + 2 * h + 1))
        : h * (b - h) * x / ((a + 2 * h - 1) * (a + 2 * h)), 1];
    });
    const low = x < (a + 1) / (a + b + 2);
    return [low ? part(a, b, x) : 1 - part(b, a, y), scale];
  }

  // [P(gamma_a < x), its slope in ln x].
  function gamma(a, x) {
    const scale = Math.exp(a * Math.log(x) - x - lnGamma(a));
    if (x > a + 1) {
      const tail = fraction((i) => [i === 1 ? 1 : -(i - 1) * (i - 1 - a),
        x + 2 * i - 1 - a]);
      return [1 - scale * tail, scale];
    }
    let term = 1 / a, sum = term;
    for (let k = 1; k < 5000 && term > 1e-13 * sum; k++) sum += term *= x / (a + k);
    return [scale * sum, scale];
  }

  // t with f(t) = level, for an increasing f that returns [value, slope]: Newton's
  // method, kept within a bracket.
  function solve(f, level, t, step) {
    let low = t - step, high = t + step;
    while (f(low)[0] > level) low -= step *= 2;
    while (f(high)[0] < level) high += step *= 2;
    for (let i = 0; i < 80 && high - low > 1e-9; i++) {
      const [value, slope] = f(t);
      if (value < level) low = t; else high = t;
      const next = t + (level - value) / slope;
      const moved = next > low && next < high;
      if (moved && Math.abs(next - t) < 1e-9) return next;
      t = moved ? next : (low + high) / 2;
    }
    return t;
  }

  // ln of the quantile of chi2_a / chi2_b.
  function lnRatioQuantile(level, a, b) {
    const f = (t) => {
      const r = Math.exp(t);
      return beta(a / 2, b / 2, r / (1 + r), 1 / (1 + r));
    };
    return solve(f, level, Math.log(a / b), 1);
  }

  function betaQuantile(level, a, b) {
    const r = Math.exp(lnRatioQuantile(level, 2 * a, 2 * b));
    return r / (1 + r);
  }

  const chi2Quantile = (level, k) =>
    2 * Math.exp(solve((t) => gamma(k / 2, Math.exp(t)), level, Math.log(k / 2), 1));

  // Gauss-Legendre nodes and weights on [0, 1].
  function legendre(count) {
    return Array.from({ length: count }, (_, i) => {
      let x = Math.cos(Math.PI * (i + 0.75) / (count + 0.5)), slope = 1;
      for (let step = 0; step < 30; step++) {
        let [last, value] = [1, x];
        for (let k = 2; k <= count; k++) {
          [last, value] = [value, ((2 * k - 1) * x * value - (k - 1) * last) / k];
        }
        slope = count * (x * value - last) / (x * x - 1);
        x -= value / slope;
      }
      return [(1 + x) / 2, 1 / ((1 - x * x) * slope * slope)];
    });
  }
  const NODES = legendre(32);

  // Columns, Tr(Lambda_1), Tr(Lambda_2). b = 0: monolithic; else the consistent reading.
  function model(p, m, b, c, Omega) {
    const logRest = -Math.pow(Omega, -(b || m)) * Math.log1p(p);
    return { q: p + m * b, t1: m * b - c * Math.expm1(logRest), t2: c * Math.exp(logRest) };
  }

  // Expected train and test loss, as modbook.theory.losses.
  function losses(n, q, t1, t2, d) {
    const N = d * n, least = Math.min(N, q), gap = Math.abs(N - q) - 1;
    const F = gap >= 1 ? least / gap : Infinity;
    return [(N - least) / n * t2, d * (t2 * F + (1 - least / q) * t1 + t2)];
  }

  // Where dn < q the test loss over d is t2 (1 + ratio) + t1 Beta. What its distribution
  // function needs: an average over the term that spreads less.
  function overparameterised(N, q, t1, t2) {
    const ratio = (u) => t2 * (1 + Math.exp(lnRatioQuantile(u, N, q - N + 1)));
    const share = (u) => t1 * betaQuantile(u, (q - N) / 2, N / 2);
    const spread = (term) => term(0.95) - term(0.05);
    const wide = spread(ratio) >= spread(share);
    return wide
      ? { wide, scale: t2, a: N / 2, b: (q - N + 1) / 2,
        shifts: NODES.map(([u]) => t2 + share(u)), middle: ratio(0.5) + share(0.5) }
      : { wide, scale: t1, a: (q - N) / 2, b: N / 2,
        shifts: NODES.map(([u]) => ratio(u)), middle: ratio(0.5) + share(0.5) };
  }

  function sumQuantile(level, { wide, scale, a, b, shifts, middle }) {
    const f = (t) => {
      const L = Math.exp(t);
      let value = 0, slope = 0;
      shifts.forEach((shift, k) => {
        const z = (L - shift) / scale, weight = NODES[k][1];
        if (z <= 0) return;
        if (!wide && z >= 1) {
          value += weight;
          return;
        }
        const [x, y] = wide ? [z / (1 + z), 1 / (1 + z)] : [z, 1 - z];
        const [P, s] = beta(a, b, x, y);
        value += weight * P;
        slope += weight * s / (wide ? z : z * (1 - z)) * L / scale;
      });
      return [value, slope || 1e-300];
    };
    return Math.exp(solve(f, level, Math.log(middle), 0.2));
  }

  // [train, test] quantiles at each level, as modbook.theory.loss_quantiles.
  function quantiles(levels, n, q, t1, t2, d) {
    const N = d * n;
    if (N >= q) {
      return levels.map((level) => [
        N > q ? t2 / n * chi2Quantile(level, N - q) : 0,
        d * t2 * (1 + Math.exp(lnRatioQuantile(level, q, N - q + 1)))]);
    }
    const terms = overparameterised(N, q, t1, t2);
    return levels.map((level) => [0, d * sumQuantile(level, terms)]);
  }

  // Everything drawn at one n and p: train and test, as {mean, median, low, high}.
  function point(n, p, m, b, c, Omega, d) {
    const { q, t1, t2 } = model(p, m, b, c, Omega);
    const mean = losses(n, q, t1, t2, d);
    const [low, median, high] = quantiles([0.05, 0.5, 0.95], n, q, t1, t2, d);
    return ["train", "test"].map((_, i) => (
      { mean: mean[i], median: median[i], low: low[i], high: high[i] }));
  }

  // Whole numbers to `largest`, evenly in the logarithm, and all close to a threshold.
  function grid(largest, thresholds, count = 70) {
    const all = Array.from({ length: count }, (_, i) =>
      Math.round(Math.pow(largest, i / (count - 1))));
    for (const at of thresholds) for (let k = -3; k <= 3; k++) all.push(Math.round(at) + k);
    return [...new Set(all)].filter((v) => v >= 1 && v <= largest).sort((u, v) => u - v);
  }

  // Columns of a Bokeh data source: nothing is drawn where a loss is zero or infinite.
  function columns(x, points) {
    const shown = (v) => (v > 0 && Number.isFinite(v) ? v : NaN);
    const data = { x };
    for (const name of ["mean", "median", "low", "high"]) {
      data[name] = points.map((at) => shown(at[name]));
    }
    return data;
  }

  function number(v) {
    if (v === Infinity) return "∞";
    return v === 0 ? "0" : Number(v.toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3 });
  }

  function table(rows) {
    const head = ["", "mean", "median", "5 %", "95 %"].map((t) => `<th>${t}</th>`).join("");
    const body = rows.map(([name, at]) => `<tr><th>${name}</th>${
      [at.mean, at.median, at.low, at.high].map((v) => `<td>${number(v)}</td>`).join("")}</tr>`);
    return `<table class="modbook-play"><tr>${head}</tr>${body.join("")}</table>`;
  }

  // Called by the sliders: draws everything anew.
  function redraw({ sliders, axis, sources, marks, axes, readout, constants }) {
    const m = sliders.m.value, d = sliders.d.value, Omega = sliders.Omega.value;
    const n = Math.round(10 ** sliders.n.value), p = Math.round(10 ** sliders.p.value);
    const alongN = axis.active === 0;
    const networks = { monolithic: 0, modular: constants.b };
    const extra = Object.values(networks).map((b) => (alongN ? (p + m * b) / d : d * n - m * b));
    const x = grid(constants.largest, extra);
    const rows = [];
    for (const [name, b] of Object.entries(networks)) {
      const at = (v) => point(alongN ? v : n, alongN ? p : v, m, b, constants.c, Omega, d);
      const points = x.map(at);
      const here = point(n, p, m, b, constants.c, Omega, d);
      ["train", "test"].forEach((kind, i) => {
        sources[`${kind}_${name}`].data = columns(x, points.map((v) => v[i]));
        rows[2 * (1 - i) + (b ? 1 : 0)] = [`${kind}, ${name}`, here[i]];
      });
    }
    for (const mark of marks) mark.location = alongN ? n : p;
    for (const label of axes) label.axis_label = alongN ? "samples n" : "parameters p";
    readout.text = table(rows);
  }

  return { lnGamma, beta, gamma, model, losses, quantiles, point, grid, redraw };
})();
