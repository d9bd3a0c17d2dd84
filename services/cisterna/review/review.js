"use strict";
// One site at a time: stacks decoded from their pictures, three planes each, two-click lengths, judgements kept.
// Every position is z, y, x in nm from the outer corner of the volume.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const PLANES = [
    { name: "yx", fixed: 0, row: 1, col: 2 },
    { name: "zx", fixed: 1, row: 0, col: 2 },
    { name: "zy", fixed: 2, row: 0, col: 1 },
  ];
  const MEASURE = "#ffd166"; // edged in black: it must be seen on membrane and on lumen
  const KEY = "cisterna-review-" + data.sample;
  const state = { index: 0, slice: [0, 0, 0], pending: null, under: 0, answers: {}, shown: data.channels };
  let stacks = null;
  const decoded = new Map();
  const panels = [];

  // ---- what was answered -------------------------------------------------------------------------------------------
  const blank = () => ({ vesicles: "", form: "", bud: "", why: "", lengths: [], when: "" });
  const item = () => data.items[state.index];
  const answer = () => (state.answers[item().item] ??= blank());
  const isCount = (text) => text === "" || (/^[0-9]{1,6}$/.test(text) && Number(text) <= data.most);
  const isReviewed = (a) => Boolean(a && (a.vesicles || a.form || a.bud || a.why.trim() || a.lengths.length));
  const cents = (v) => Math.round(v * 100) / 100;
  const lengthNm = (l) => Math.hypot(l[0] - l[3], l[1] - l[4], l[2] - l[5]);

  function keep() {
    try {
      localStorage.setItem(KEY, JSON.stringify({ reviewer: by("reviewer").value, answers: state.answers, index: state.index }));
    } catch {
      by("kept").textContent = "This browser keeps nothing: download the file before you close the page.";
    }
  }

  function recall() {
    by("reviewer").value = data.reviewer;
    try {
      const kept = JSON.parse(localStorage.getItem(KEY) || "null");
      if (!kept) return;
      for (const { item } of data.items) if (kept.answers[item]) state.answers[item] = { ...blank(), ...kept.answers[item] };
      if (kept.reviewer && !data.reviewer) by("reviewer").value = kept.reviewer;
      state.index = Math.min(Math.max(0, kept.index | 0), data.items.length - 1);
    } catch {
      // Nothing was kept, or something else wrote there: begin anew.
    }
  }

  function changed() {
    answer().when = new Date().toISOString().slice(0, 19) + "Z";
    keep();
    tell();
  }

  function tell() {
    const done = data.items.filter((i) => isReviewed(state.answers[i.item])).length;
    by("bar").value = done;
    by("done").textContent = `${done} of ${data.items.length} reviewed`;
    [...by("sites").children].forEach((button, n) => {
      const reviewed = isReviewed(state.answers[data.items[n].item]);
      button.classList.toggle("reviewed", reviewed);
      button.setAttribute("aria-current", String(n === state.index));
      button.setAttribute("aria-label", `site ${data.items[n].item}${reviewed ? ", reviewed" : ""}`);
    });
    const a = answer();
    const wrong = isCount(a.vesicles) ? "" : `A count is a whole number from 0 to ${data.most}, or empty.`;
    by("wrong").textContent = wrong;
    by("vesicles").classList.toggle("invalid", wrong !== "");
    by("lengths").replaceChildren(
      ...a.lengths.map((l) => {
        const line = document.createElement("li");
        line.textContent = `${lengthNm(l).toFixed(1)} nm`;
        return line;
      }),
    );
    by("undo").hidden = a.lengths.length === 0;
  }

  function fill() {
    const a = answer();
    by("vesicles").value = a.vesicles;
    by("why").value = a.why;
    for (const name of ["form", "bud"])
      for (const radio of document.getElementsByName(name)) radio.checked = radio.value === a[name];
  }

  // ---- pictures ----------------------------------------------------------------------------------------------------
  async function decode(stack) {
    const image = new Image();
    image.src = stack.picture;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.drawImage(image, 0, 0);
    const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data;
    const [depth, height, width] = stack.shape;
    const [cellHeight, cellWidth] = stack.cell;
    const grey = new Uint8Array(depth * height * width);
    for (let z = 0; z < depth; z++) {
      const top = Math.floor(z / stack.columns) * cellHeight;
      const left = (z % stack.columns) * cellWidth;
      for (let y = 0; y < height; y++) {
        let from = 4 * ((top + y) * canvas.width + left);
        let to = (z * height + y) * width;
        for (let x = 0; x < width; x++, from += 4) grey[to++] = pixels[from];
      }
    }
    return { ...stack, grey };
  }

  function load(index) {
    if (!decoded.has(index)) {
      const wanted = data.items[index].stacks;
      decoded.set(
        index,
        Promise.all(data.channels.map(async (c) => [c, await decode(wanted[c])])).then((pairs) => Object.fromEntries(pairs)),
      );
    }
    for (const old of decoded.keys()) if (Math.abs(old - index) > 2) decoded.delete(old);
    return decoded.get(index);
  }

  const base = () => item().stacks[data.channels[0]];
  const sizeNm = (axis) => base().shape[axis] * base().voxel[axis];
  const cutNm = (axis) => base().origin[axis] + (state.slice[axis] + 0.5) * base().voxel[axis];
  const clamp = (v, low, high) => Math.min(Math.max(v, low), high);

  function middle() {
    for (let axis = 0; axis < 3; axis++) cutAt(axis, item().position[axis]);
  }

  function cutAt(axis, nm) {
    state.slice[axis] = clamp(Math.floor((nm - base().origin[axis]) / base().voxel[axis]), 0, base().shape[axis] - 1);
  }

  async function show(index) {
    state.index = clamp(index, 0, data.items.length - 1);
    state.pending = null;
    stacks = null;
    delete document.body.dataset.ready;
    by("title").textContent = `Site ${item().item}`;
    middle();
    fill();
    tell();
    keep();
    const wanted = state.index;
    const found = await load(wanted);
    if (wanted !== state.index) return;
    stacks = found;
    draw();
    document.body.dataset.ready = item().item;
    if (wanted + 1 < data.items.length) load(wanted + 1);
  }

  function build() {
    panels.length = 0;
    const columns = PLANES.map(() => "auto").join(" ");
    by("planes").style.gridTemplateColumns = columns;
    by("planes").replaceChildren(
      ...state.shown.flatMap((channel) =>
        PLANES.map((plane, n) => {
          const figure = document.createElement("figure");
          const caption = document.createElement("figcaption");
          const canvas = document.createElement("canvas");
          canvas.dataset.plane = plane.name;
          canvas.dataset.channel = channel;
          canvas.tabIndex = 0;
          canvas.setAttribute("role", "img");
          canvas.setAttribute("aria-label", `${channel}, plane ${plane.name}: click two points to measure`);
          figure.append(caption, canvas);
          const panel = { plane, channel, canvas, caption };
          panels.push(panel);
          canvas.addEventListener("click", (e) => clicked(panel, e));
          canvas.addEventListener("wheel", (e) => { e.preventDefault(); step(plane.fixed, Math.sign(e.deltaY)); }, { passive: false });
          canvas.addEventListener("pointerenter", () => { state.under = n; });
          canvas.addEventListener("focus", () => { state.under = n; });
          return figure;
        }),
      ),
    );
  }

  function reslice(stack, plane, nm) {
    const [depth, height, width] = stack.shape;
    const strides = [height * width, width, 1];
    const k = Math.floor((nm - stack.origin[plane.fixed]) / stack.voxel[plane.fixed]);
    if (k < 0 || k >= stack.shape[plane.fixed]) return null;
    const rows = stack.shape[plane.row], columns = stack.shape[plane.col];
    const image = new ImageData(columns, rows);
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) {
        const v = stack.grey[k * strides[plane.fixed] + r * strides[plane.row] + c * strides[plane.col]];
        const to = 4 * (r * columns + c);
        image.data[to] = image.data[to + 1] = image.data[to + 2] = v;
        image.data[to + 3] = 255;
      }
    const canvas = document.createElement("canvas");
    canvas.width = columns;
    canvas.height = rows;
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  function draw() {
    if (!stacks) return;
    const zoom = Number(by("zoom").value), marks = by("marks").checked, dpr = window.devicePixelRatio || 1;
    const letters = "zyx";
    for (const { plane, channel, canvas, caption } of panels) {
      const width = sizeNm(plane.col) * zoom, height = sizeNm(plane.row) * zoom;
      canvas.width = Math.round(width * dpr);
      canvas.height = Math.round(height * dpr);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
      const pen = canvas.getContext("2d");
      pen.setTransform(canvas.width / width, 0, 0, canvas.height / height, 0, 0);
      const nm = cutNm(plane.fixed);
      const stack = stacks[channel];
      const picture = reslice(stack, plane, nm);
      const px = (p) => (p[plane.col] - base().origin[plane.col]) * zoom;
      const py = (p) => (p[plane.row] - base().origin[plane.row]) * zoom;
      if (picture)
        pen.drawImage(
          picture, px(stack.origin), py(stack.origin),
          stack.shape[plane.col] * stack.voxel[plane.col] * zoom, stack.shape[plane.row] * stack.voxel[plane.row] * zoom,
        );
      if (marks) frame(pen, plane, px, py, zoom, width, height);
      for (const l of answer().lengths) line(pen, plane, px, py, l.slice(0, 3), l.slice(3), nm);
      if (state.pending) dot(pen, px(state.pending), py(state.pending));
      scaleBar(pen, width, height, zoom);
      caption.textContent =
        `${channel} · ${letters[plane.row]} ↓ ${letters[plane.col]} → · ${letters[plane.fixed]} slice ` +
        `${state.slice[plane.fixed] + 1} of ${base().shape[plane.fixed]}`;
    }
    by("hint").textContent = state.pending
      ? "Click the second point, in any plane. Esc forgets the first."
      : "Click two points to measure a length. Wheel or ↑ ↓: next slice. Shift + click: cut all planes there.";
  }

  function frame(pen, plane, px, py, zoom, width, height) {
    const at = item().position, side = data.region * zoom;
    pen.save();
    pen.strokeStyle = "rgba(20,140,165,.95)";
    pen.setLineDash([6, 5]);
    pen.strokeRect(px(at) - side / 2, py(at) - side / 2, side, side);
    pen.setLineDash([]);
    pen.strokeStyle = "rgba(255,255,255,.28)";
    pen.beginPath();
    const cut = [0, 1, 2].map(cutNm);
    pen.moveTo(px(cut), 0); pen.lineTo(px(cut), height);
    pen.moveTo(0, py(cut)); pen.lineTo(width, py(cut));
    pen.stroke();
    pen.restore();
  }

  function line(pen, plane, px, py, from, to, nm) {
    const near = [from, to].every((p) => Math.abs(p[plane.fixed] - nm) <= base().voxel[plane.fixed]);
    pen.save();
    pen.globalAlpha = near ? 1 : 0.35;
    pen.beginPath();
    pen.moveTo(px(from), py(from));
    pen.lineTo(px(to), py(to));
    for (const [colour, width] of [["#000", 4], [MEASURE, 2]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.stroke();
    }
    for (const p of [from, to]) dot(pen, px(p), py(p));
    pen.restore();
  }

  function dot(pen, x, y) {
    pen.beginPath();
    pen.arc(x, y, 2.8, 0, 7);
    pen.fillStyle = MEASURE;
    pen.strokeStyle = "#000";
    pen.lineWidth = 1;
    pen.fill();
    pen.stroke();
  }

  function scaleBar(pen, width, height, zoom) {
    const quarter = width / zoom / 4, power = 10 ** Math.floor(Math.log10(quarter));
    const nm = Math.max(...[1, 2, 5].map((s) => s * power).filter((s) => s <= quarter));
    const right = width - 10, bottom = height - 10;
    pen.fillStyle = "rgba(0,0,0,.55)";
    pen.fillRect(right - nm * zoom - 5, bottom - 21, nm * zoom + 10, 27);
    pen.fillStyle = "#fff";
    pen.fillRect(right - nm * zoom, bottom - 3, nm * zoom, 3);
    pen.font = "12px system-ui,sans-serif";
    pen.textAlign = "center";
    pen.fillText(`${nm} nm`, right - (nm * zoom) / 2, bottom - 7);
  }

  // ---- what people do ----------------------------------------------------------------------------------------------
  function clicked({ plane, canvas }, e) {
    const box = canvas.getBoundingClientRect();
    const point = [0, 0, 0];
    point[plane.col] = base().origin[plane.col] + ((e.clientX - box.left) / box.width) * sizeNm(plane.col);
    point[plane.row] = base().origin[plane.row] + ((e.clientY - box.top) / box.height) * sizeNm(plane.row);
    point[plane.fixed] = cutNm(plane.fixed);
    if (e.shiftKey) {
      cutAt(plane.col, point[plane.col]);
      cutAt(plane.row, point[plane.row]);
    } else if (state.pending) {
      answer().lengths.push([...state.pending, ...point].map(cents));
      state.pending = null;
      changed();
    } else {
      state.pending = point;
    }
    draw();
  }

  function step(axis, by) {
    state.slice[axis] = clamp(state.slice[axis] + by, 0, base().shape[axis] - 1);
    draw();
  }

  function removeLast() {
    answer().lengths.pop();
    changed();
    draw();
  }

  function choose(name, value) {
    answer()[name] = value;
    fill();
    changed();
  }

  function channel(value) {
    state.shown = value ? [value] : data.channels;
    build();
    draw();
  }

  const cell = (text) => (/[",;\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const points = (l) => `${l.slice(0, 3).join(" ")} > ${l.slice(3).join(" ")}`;

  function sheet() {
    const reviewer = by("reviewer").value.trim();
    const rows = data.items.filter((i) => isReviewed(state.answers[i.item])).map(({ item }) => {
      const a = state.answers[item];
      const row = {
        sample: data.sample, item, reviewer, when_utc: a.when, vesicles: a.vesicles, form: a.form, bud: a.bud, why: a.why,
        lengths: a.lengths.map(points).join("; "), lengths_nm: a.lengths.map((l) => lengthNm(l).toFixed(1)).join(" "),
        revision: "", tool_version: data.version,
      };
      return data.columns.map((name) => cell(row[name])).join(",");
    });
    return "\ufeff" + [data.columns.join(","), ...rows, ""].join("\r\n");
  }

  function save() {
    const stop = (id, sentence) => {
      by("kept").textContent = sentence;
      by("kept").setAttribute("role", "alert");
      by(id).focus();
    };
    const wrong = data.items.findIndex((i) => !isCount(state.answers[i.item]?.vesicles ?? ""));
    if (!by("reviewer").value.trim()) return stop("reviewer", "Write your name above first: every decision says who made it.");
    if (wrong >= 0) {
      show(wrong);
      return stop("vesicles", `The count of site ${data.items[wrong].item} is no whole number.`);
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([sheet()], { type: "text/csv;charset=utf-8" }));
    link.download = "decisions.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    const left = data.items.filter((i) => !isReviewed(state.answers[i.item])).length;
    by("kept").textContent = left ? `Saved. ${left} still to review: download again when you have gone on.` : "Saved: all are reviewed.";
  }

  const KEYS = {
    n: () => show(state.index + 1), ArrowRight: () => show(state.index + 1),
    p: () => show(state.index - 1), ArrowLeft: () => show(state.index - 1),
    ArrowDown: () => step(PLANES[state.under].fixed, 1), ArrowUp: () => step(PLANES[state.under].fixed, -1),
    PageDown: () => step(PLANES[state.under].fixed, 5), PageUp: () => step(PLANES[state.under].fixed, -5),
    v: () => by("vesicles").select(), w: () => by("why").focus(),
    b: () => choose("bud", { "": "yes", yes: "no", no: "" }[answer().bud]),
    c: () => { const all = ["", ...data.channels]; const select = by("channels"); if (select) { select.value = all[(all.indexOf(select.value) + 1) % all.length]; channel(select.value); } },
    x: () => { by("marks").checked = !by("marks").checked; draw(); },
    r: () => { middle(); draw(); },
    Escape: () => { state.pending = null; draw(); },
    Backspace: () => removeLast(),
  };

  document.addEventListener("keydown", (e) => {
    const here = e.target;
    const writing = here.matches?.("textarea, select, input:not([type=radio]):not([type=checkbox])");
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (writing) {
      if (e.key === "Escape" || (e.key === "Enter" && here.tagName === "INPUT")) here.blur();
      return;
    }
    if (here.matches?.("input") && e.key.startsWith("Arrow")) return;
    const form = /^[0-9]$/.test(e.key) ? Number(e.key) : -1;
    const key = e.key.length === 1 ? e.key.toLowerCase() : e.key;
    if (form >= 0 && form <= data.forms.length) choose("form", form ? data.forms[form - 1] : "");
    else if (KEYS[key]) KEYS[key]();
    else return;
    e.preventDefault();
  });

  by("judge").addEventListener("submit", (e) => e.preventDefault());
  by("vesicles").addEventListener("input", () => { answer().vesicles = by("vesicles").value.trim(); changed(); });
  by("why").addEventListener("input", () => { answer().why = by("why").value; changed(); });
  for (const name of ["form", "bud"])
    for (const radio of document.getElementsByName(name)) radio.addEventListener("change", () => choose(name, radio.value));
  by("reviewer").addEventListener("input", keep);
  by("previous").addEventListener("click", () => show(state.index - 1));
  by("next").addEventListener("click", () => show(state.index + 1));
  by("undo").addEventListener("click", removeLast);
  by("save").addEventListener("click", save);
  by("zoom").addEventListener("input", draw);
  by("marks").addEventListener("change", draw);
  by("channels")?.addEventListener("change", (e) => channel(e.target.value));
  by("sites").replaceChildren(
    ...data.items.map(({ item }, n) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = item;
      button.addEventListener("click", () => show(n));
      return button;
    }),
  );
  recall();
  const room = Math.max(320, by("planes").clientWidth) - 24;
  by("zoom").value = clamp(Math.floor((100 * room) / (2 * sizeNm(2) + sizeNm(1))) / 100, 0.3, 2);
  build();
  show(state.index);
})();
