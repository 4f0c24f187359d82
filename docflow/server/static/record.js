"use strict";
// The record beside the page: fields, lists as tables, and below them what is known of the selected value.

const SHOWN = 300; // characters of a value in the record; the whole text stands in the inspector
const NUMBERS = ["money", "quantity"];

function leavesOf(view) {
  const found = [];
  for (const group of view.groups) {
    for (const leaf of group.leaves ?? []) found.push(leaf);
    for (const row of group.rows ?? []) {
      for (const leaf of row.leaves) found.push({ ...leaf, row, list: group, decision: leaf.decision ?? row.removed });
    }
    if (group.empty) found.push({ ...group.empty, list: group });
  }
  return found;
}

function nothing(leaf) {
  if (leaf.kind === "list") return "no rows";
  return leaf.reason === "unreadable" ? "unreadable" : leaf.reason === "conflict" ? "in conflict" : "absent";
}

function valueInto(parent, leaf) {
  const text = leaf.value === null ? null : leaf.shown;
  const decision = leaf.decision;
  const changed = decision && decision.value !== leaf.value;
  if (!changed || text !== null) {
    const kind = changed ? "was" : text === null ? "null" : "";
    parent.append(element("span", `value ${kind}`, text === null ? nothing(leaf) : shortened(text, SHOWN)));
  }
  if (changed) {
    const now = decision.value === null ? "absent" : shortened(decision.value, SHOWN);
    parent.append(element("span", `value now ${decision.value === null ? "null" : ""}`, now));
  }
}

class RecordView {
  // `choose` and `hover` get a path; `act` gets an action, a path and perhaps a text. `readOnly` shows no actions.
  constructor(choose, hover, act, readOnly) {
    this.choose = choose;
    this.hover = hover;
    this.act = act;
    this.readOnly = readOnly;
  }

  open(view, leaves) {
    this.view = view;
    this.leaves = leaves;
    this.drawn = new Map();
    const values = element("div", "values");
    for (const group of view.groups) values.append(group.columns ? this.list(group) : this.fields(group));
    const old = byId("values");
    values.id = "values";
    const scrolled = view.key === this.key ? old.scrollTop : 0;
    old.replaceWith(values);
    values.scrollTop = scrolled;
    this.key = view.key;
    this.messages();
  }

  messages() {
    const said = [];
    if (this.view.error) {
      const text = [this.view.error.message, this.view.error.hint].filter(Boolean).join(" ");
      said.push(element("p", this.view.status === "failed" ? "failed" : "", shortened(text, 600)));
    }
    if (this.view.missing.length) {
      const lines = this.view.missing.slice(0, 5).map((one) => `page ${one.page}: ${shortened(one.text, 100)}`);
      const lists = [...new Set(this.view.missing.map((one) => one.list))].join(", ");
      const text = `Rows suspected missing from ${shortened(lists, 100)}: ${this.view.missing.length} (${lines.join("; ")})`;
      said.push(element("p", "missing", text));
    }
    if (this.view.lost.length) {
      const paths = this.view.lost.slice(0, 5).join(", ");
      said.push(element("p", "", `Said earlier of rows that are no longer there: ${shortened(paths, 200)}`));
    }
    byId("messages").replaceChildren(...said);
  }

  listen(drawn, path) {
    drawn.dataset.path = path;
    drawn.addEventListener("click", () => this.choose(path));
    drawn.addEventListener("mouseenter", () => this.hover(path));
    drawn.addEventListener("mouseleave", () => this.hover(null));
    this.drawn.set(path, drawn);
    return drawn;
  }

  fields(group) {
    const part = element("div", "fields");
    for (const leaf of group.leaves) part.append(this.field(leaf));
    return part;
  }

  field(leaf) {
    const drawn = element("div", `leaf ${leaf.decision ? "decided" : level(leaf.confidence)}`);
    drawn.append(element("span", "name", visible(leaf.name)));
    const value = element("span");
    valueInto(value, leaf);
    const sure = leaf.value === null && !leaf.decision ? "" : percent(leaf.confidence);
    drawn.append(value, element("span", "sure", leaf.decision ? "\u2713" : sure));
    return this.listen(drawn, leaf.path);
  }

  list(group) {
    const part = element("div", "list");
    const head = element("h3", "", visible(group.title));
    head.append(element("span", "", group.rows.length ? `${group.rows.length}` : ""));
    if (!this.readOnly) {
      const add = element("button", "", "Add row");
      add.type = "button";
      add.addEventListener("click", () => this.act("add", group.next, group.first));
      head.append(add);
    }
    part.append(head);
    if (group.empty && !group.rows.length) {
      part.append(this.field({ ...group.empty, name: "" }));
      return part;
    }
    const frame = element("div", "table");
    const table = element("table");
    const titles = element("tr");
    titles.append(element("th"));
    for (const name of group.columns) titles.append(element("th", "", shortened(name, 40)));
    const top = element("thead");
    top.append(titles);
    const body = element("tbody");
    group.rows.forEach((row, at) => body.append(this.row(row, at)));
    table.append(top, body);
    frame.append(table);
    part.append(frame);
    return part;
  }

  row(row, at) {
    const line = element("tr", `${row.removed ? "removed" : ""} ${row.added ? "added" : ""}`);
    line.append(element("td", "row", row.added ? "+" : `${at + 1}`));
    for (const leaf of row.leaves) {
      const numeric = NUMBERS.includes(leaf.kind) ? "number" : "";
      const cell = element("td", `${numeric} ${leaf.decision ? "decided" : leaf.value === null ? "" : level(leaf.confidence)}`);
      if (leaf.value !== null || leaf.decision) valueInto(cell, leaf);
      if (leaf.decision && leaf.decision.value === leaf.value) cell.append(element("span", "tick", " \u2713"));
      line.append(this.listen(cell, leaf.path));
    }
    return line;
  }

  mark(selected, hovered) {
    for (const [path, drawn] of this.drawn) {
      drawn.classList.toggle("current", path === selected);
      drawn.classList.toggle("hover", path === hovered);
    }
  }

  select(path) {
    this.mark(path, null);
    this.drawn.get(path)?.scrollIntoView({ block: "nearest" });
    this.inspect(this.leaves.find((leaf) => leaf.path === path));
  }

  inspect(leaf) {
    const panel = byId("inspector");
    panel.replaceChildren();
    panel.hidden = !leaf;
    if (!leaf) return;
    panel.append(element("div", "path", visible(leaf.path)));
    const big = element("div", "big");
    const text = leaf.value === null ? nothing(leaf) : visible(leaf.shown);
    big.append(element("span", `value ${leaf.value === null ? "null" : ""}`, text));
    panel.append(big);
    const facts = element("dl", "facts");
    const fact = (name, said) => {
      if (said) facts.append(element("dt", "", name), element("dd", "", said));
    };
    fact("printed", leaf.raw !== null && leaf.raw !== leaf.shown ? visible(leaf.raw) : "");
    const pages = [...new Set(leaf.boxes.map((place) => place.page))].join(", ");
    fact("found", [leaf.found, pages && `page ${pages}`].filter(Boolean).join(", "));
    fact("why null", leaf.value === null ? leaf.reason : "");
    fact("sure", percent(leaf.confidence));
    if (leaf.decision) {
      const said = { accept: "accepted", correct: "corrected", absent: "marked absent" }[leaf.decision.action];
      const value = leaf.decision.action === "correct" ? ` to ${visible(leaf.decision.value)}` : "";
      fact("decided", `${said}${value} by ${visible(leaf.decision.who)}, ${leaf.decision.when.slice(0, 16).replace("T", " ")}`);
    }
    panel.append(facts);
    if (!this.readOnly) panel.append(this.actions(leaf));
  }

  actions(leaf) {
    const bar = element("div", "actions");
    const button = (label, key, action, className) => {
      const made = element("button", className, label);
      made.type = "button";
      made.dataset.action = action;
      made.append(element("kbd", "", key));
      made.addEventListener("click", () => this.act(action, leaf.path));
      bar.append(made);
    };
    button("Accept", "a", "accept", "primary");
    if (leaf.kind !== "list") button("Correct", "e", "edit");
    if (leaf.kind !== "list") button("Absent", "x", "absent");
    if (leaf.row && !leaf.row.added) button("No such row", "X", "remove");
    if (leaf.decision) button("Undo", "u", "withdraw");
    return bar;
  }

  // Turns the inspector into an editor of one value; `save` gets the text.
  edit(leaf, save) {
    this.inspect(leaf);
    const panel = byId("inspector");
    panel.querySelector(".actions")?.remove();
    const form = element("form", "editor");
    const input = this.input(leaf);
    const done = element("button", "primary", "Save");
    const cancel = element("button", "", "Cancel");
    cancel.type = "button";
    cancel.addEventListener("click", () => this.select(leaf.path));
    form.append(input, done, cancel);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      save(input.value);
    });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.select(leaf.path);
      event.stopPropagation();
    });
    panel.append(form);
    input.focus();
    input.select?.();
  }

  input(leaf) {
    const now = leaf.decision && leaf.decision.value !== null ? leaf.decision.value : leaf.value;
    const choices = leaf.kind === "boolean" ? ["true", "false"] : leaf.choices;
    if (!choices.length) {
      const input = element("input");
      input.value = now ?? "";
      input.maxLength = 10000;
      input.dir = "auto";
      input.setAttribute("aria-label", "The true value");
      return input;
    }
    const input = element("select");
    for (const choice of choices) {
      const option = element("option", "", visible(choice));
      option.value = choice;
      option.selected = choice === now;
      input.append(option);
    }
    return input;
  }

  refuse(message) {
    const panel = byId("inspector");
    panel.querySelector(".wrong")?.remove();
    panel.append(element("p", "wrong", message));
  }
}
