// The quiz form. The kernel grades; this page only shows. Every control that can hold the
// focus carries data-lm-suppress-shortcuts: an ancestor's attribute is not enough.

const OUTCOME = {
  correct: "✓ Correct",
  partial: "◐ Partly right",
  incorrect: "✗ Not yet",
  "needs review": "? Could not be read",
  recorded: "✓ Saved for grading",
  unanswered: "– Not answered",
};

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "html") node.innerHTML = value;
    else if (name === "text") node.textContent = value;
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

function control(tag, attributes = {}, ...children) {
  return make(tag, { "data-lm-suppress-shortcuts": "true", ...attributes }, ...children);
}

// Each kind of question: draw(fieldset, view, value, uid) gives a function that reads the answer.
const KINDS = {
  single: (box, view, value, uid) => options(box, view, value ? [value] : [], uid, "radio", (on) => on[0] ?? null),
  multiple: (box, view, value, uid) => options(box, view, value ?? [], uid, "checkbox", (on) => on),
  numeric: field, experiment: field, text: field,
  ordering, matching,
  artefact: field,
  code: (box, view) => {
    box.append(make("p", { text: `Solve exercise ${view.exercise} in its own cell and check it there, then press Submit here.` }));
    return () => "done";
  },
};

function options(box, view, chosen, uid, type, give) {
  for (const choice of view.choices) {
    const id = `${uid}-${choice.id}`;
    const input = control("input", { type, name: uid, id, value: choice.id });
    input.checked = chosen.includes(choice.id);
    box.append(make("div", { class: "course-option", "data-choice": choice.id },
      input, make("label", { for: id, html: choice.html })));
  }
  return () => give([...box.querySelectorAll("input:checked")].map((i) => i.value));
}

function field(box, view, value, uid) {
  const numeric = view.type !== "text" && view.type !== "artefact";
  const input = control("input", {
    type: "text", id: uid, autocomplete: "off", spellcheck: "false", maxlength: 200,
    inputmode: numeric ? "decimal" : null,
  });
  input.value = value ?? "";
  // JupyterLab takes Enter away from text fields, so the form would never be submitted by it
  input.addEventListener("keydown", (e) => {
    if (e.key === "Enter" && !e.isComposing) { e.preventDefault(); input.form.requestSubmit(); }
  });
  box.append(make("label", { for: uid, text: "Your answer: " }), input);
  if (view.unit) box.append(make("span", { class: "course-unit", text: ` ${view.unit}` }));
  return () => input.value.trim();
}

function ordering(box, view, value, uid) {
  const byId = Object.fromEntries(view.choices.map((c) => [c.id, c]));
  let order = Array.isArray(value) && value.length === view.choices.length && value.every((id) => byId[id])
    ? [...value] : view.choices.map((c) => c.id);
  const list = make("ol", { class: "course-order" });
  const told = make("span", { class: "course-hidden", role: "status" });
  function place(id, step) {
    const at = order.indexOf(id), to = at + step;
    if (to < 0 || to >= order.length) return;
    order.splice(to, 0, order.splice(at, 1)[0]);
    draw();
    const row = list.children[to];
    const buttons = row.querySelectorAll("button");
    const wanted = step < 0 ? buttons[0] : buttons[1];
    (wanted.disabled ? (step < 0 ? buttons[1] : buttons[0]) : wanted).focus();
    told.textContent = `${row.querySelector(".course-item").textContent}: now place ${to + 1} of ${order.length}`;
  }
  function draw() {
    list.replaceChildren(...order.map((id, at) => {
      const text = make("span", { class: "course-item", html: byId[id].html });
      const name = text.textContent;
      const up = control("button", { type: "button", "aria-label": `Move up: ${name}`, disabled: at === 0, text: "↑" });
      const down = control("button", { type: "button", "aria-label": `Move down: ${name}`, disabled: at === order.length - 1, text: "↓" });
      up.addEventListener("click", () => place(id, -1));
      down.addEventListener("click", () => place(id, 1));
      const row = make("li", { draggable: "true", "data-choice": id }, up, down, text);
      row.addEventListener("dragstart", (e) => { e.dataTransfer.setData("text/plain", id); e.stopPropagation(); });
      row.addEventListener("dragover", (e) => { e.preventDefault(); e.stopPropagation(); });
      row.addEventListener("drop", (e) => {
        e.preventDefault(); e.stopPropagation();
        const moved = e.dataTransfer.getData("text/plain");
        if (!byId[moved]) return;
        order.splice(order.indexOf(moved), 1);
        order.splice(at, 0, moved);
        draw();
      });
      return row;
    }));
  }
  draw();
  box.append(list, told);
  return () => order;
}

function matching(box, view, value, uid) {
  const table = make("div", { class: "course-pairs" });
  for (const choice of view.choices) {
    const id = `${uid}-${choice.id}`;
    const select = control("select", { id, "data-left": choice.id }, make("option", { value: "", text: "choose …" }));
    for (const target of view.targets) select.append(make("option", { value: target.id, text: target.text }));
    select.value = value?.[choice.id] ?? "";
    table.append(make("div", { class: "course-pair", "data-choice": choice.id },
      make("label", { for: id, html: choice.html }), select));
  }
  box.append(table);
  return () => Object.fromEntries([...table.querySelectorAll("select")]
    .filter((s) => s.value).map((s) => [s.dataset.left, s.value]));
}

function drawQuestion(model, view, number) {
  const uid = `course-${view.id}-${Math.random().toString(36).slice(2)}`.replaceAll(".", "-");
  const points = `${view.points} ${view.points === 1 ? "point" : "points"}`;
  const legend = make("legend", {}, make("span", { class: "course-number", text: `${number ? `${number}. ` : ""}` }),
    make("span", { class: "course-points", text: points }));
  const stem = make("div", { class: "course-stem", id: `${uid}-stem`, html: view.stem });
  const box = make("fieldset", { "aria-describedby": `${uid}-stem` }, legend, stem);
  if (view.image?.src) box.append(make("img", { class: "course-image", src: view.image.src, alt: view.image.alt }));
  const answer = make("div", { class: "course-answer" });
  box.append(answer);
  const submit = control("button", { type: "submit", class: "course-submit", text: "Submit" });
  const hint = control("button", { type: "button", class: "course-hint", text: "Hint" });
  const retry = control("button", { type: "button", class: "course-retry", text: "Clear" });
  const status = make("div", { class: "course-feedback", role: "status" });
  const hints = make("div", { class: "course-hints" });
  const form = make("form", { class: "course-question", "data-question": view.id, novalidate: true },
    box, hints, make("div", { class: "course-buttons" }, submit, ...(view.hints ? [hint] : []), retry), status);
  let read = () => null;
  const draw = (value) => {
    answer.replaceChildren();
    read = KINDS[view.type](answer, view, value, uid);
  };
  const send = (action, value) => model.send({ action, question: view.id, value });
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    status.textContent = "Saving …";
    send("submit", read());
  });
  hint.addEventListener("click", () => send("hint", null));
  retry.addEventListener("click", () => {
    draw(null);
    status.replaceChildren();
    delete form.dataset.outcome;
    form.querySelector("input, select, button")?.focus();
  });
  const show = (state, redraw) => {
    if (redraw) draw(state.value);
    hints.replaceChildren(...(state.hints ?? []).map((h) => make("div", { class: "course-hint-text", html: h })));
    hint.disabled = (state.hints ?? []).length >= view.hints;
    for (const row of answer.querySelectorAll("[data-choice]")) {
      const id = row.dataset.choice;
      row.dataset.mark = state.detail?.right?.includes(id) ? "right" : state.detail?.wrong?.includes(id) ? "wrong" : "";
    }
    status.replaceChildren();
    if (state.message) status.append(make("p", { class: "course-message", text: state.message }));
    if (!state.outcome) { delete form.dataset.outcome; return; }
    form.dataset.outcome = state.outcome;
    const tries = `attempt ${state.attempts}` + (state.outcome === "recorded" ? "" : `, ${state.earned} of ${points}`);
    status.append(make("p", { class: "course-verdict" },
      make("strong", { text: OUTCOME[state.outcome] ?? state.outcome }), ` · ${tries} · saved`));
    for (const line of state.feedback ?? []) status.append(make("div", { html: line }));
    if (state.explanation && state.outcome === "correct") status.append(make("div", { class: "course-why", html: state.explanation }));
  };
  return { form, show };
}

function reviewTable(rows) {
  const head = make("tr", {}, ...["no.", "result", "points", "read again"].map((text) => make("th", { scope: "col", text })));
  const body = rows.map((row) => make("tr", { "data-outcome": row.outcome },
    make("th", { scope: "row", text: row.number }),
    make("td", { text: OUTCOME[row.outcome] ?? row.outcome }),
    make("td", { text: row.outcome === "recorded" ? "–" : `${row.earned} of ${row.points}` }),
    make("td", {}, make("span", { text: row.outcome === "correct" || row.outcome === "recorded" ? "" : row.section }),
      ...(row.explanation && row.outcome !== "correct" ? [make("div", { class: "course-why", html: row.explanation })] : []))));
  return make("table", {}, make("caption", { text: "Review" }), make("thead", {}, head), make("tbody", {}, ...body));
}

function render({ model, el }) {
  const questions = model.get("questions");
  const root = make("div", { class: "course-quiz" });
  const title = model.get("title");
  const sum = make("p", { class: "course-summary", role: "status" });
  const notice = make("p", { class: "course-message", role: "status" });
  if (title) root.append(make("h4", { text: title }));
  root.append(notice);
  const drawn = questions.map((view, i) => [view.id, drawQuestion(model, view, questions.length > 1 ? i + 1 : 0)]);
  for (const [, one] of drawn) root.append(one.form);
  const review = control("button", { type: "button", class: "course-review-button", text: "Review" });
  const again = control("button", { type: "button", class: "course-again", text: "Start again" });
  const sure = control("button", { type: "button", class: "course-sure", text: "Yes, start again" });
  const back = control("button", { type: "button", class: "course-back", text: "No, keep my answers" });
  const asking = make("div", { class: "course-asking", role: "group", "aria-label": "Start again?" },
    make("p", { text: "Empty this quiz? Your earlier answers stay in your answers folder, but no longer count." }),
    make("div", { class: "course-buttons" }, sure, back));
  const table = make("div", { class: "course-review", tabindex: "-1" });
  asking.hidden = true;
  if (questions.length > 1) root.append(sum, make("div", { class: "course-buttons" }, review, again), asking, table);
  review.addEventListener("click", () => model.send({ action: "review" }));
  again.addEventListener("click", () => { asking.hidden = false; back.focus(); });
  back.addEventListener("click", () => { asking.hidden = true; again.focus(); });
  sure.addEventListener("click", () => { asking.hidden = true; model.send({ action: "reset" }); again.focus(); });
  const before = {};
  const update = () => {
    const states = model.get("states");
    for (const [id, one] of drawn) {
      const now = JSON.stringify(states[id] ?? {});
      if (now === before[id]) continue;
      const emptied = before[id] !== undefined && JSON.parse(before[id]).attempts > 0 && !states[id]?.attempts;
      one.show(states[id] ?? {}, before[id] === undefined || emptied);
      before[id] = now;
    }
    const s = model.get("summary");
    sum.textContent = `${s.answered} of ${s.questions} answered` + (s.recorded ? ", saved for grading" : `, ${s.earned} of ${s.points} points`);
    review.disabled = again.disabled = s.answered === 0;
    again.hidden = s.recorded;
    notice.textContent = model.get("notice");
    notice.hidden = !notice.textContent;
  };
  const shown = () => {
    const rows = model.get("review");
    table.replaceChildren(...(rows.length ? [reviewTable(rows)] : []));
    if (rows.length) table.focus();
  };
  for (const name of ["states", "summary", "notice"]) model.on(`change:${name}`, update);
  model.on("change:review", shown);
  update();
  el.append(root);
}

export default { render };
