"use strict";
// The review page: the queue, the keys, and what is told to the server. A report has its data in the page instead.

const KEYS = [
  ["a  Enter", "accept the value"],
  ["e", "correct it"],
  ["x", "mark it absent: nothing stands there"],
  ["X", "the whole row of a list is not on the page"],
  ["r", "add a row to the list"],
  ["u", "undo"],
  ["j  k", "next, previous value"],
  ["A", "accept what is left of the document and go on"],
  ["n  p", "next, previous document"],
  ["]  [", "next, previous page"],
  ["+  -  0", "zoom in, out, fit"],
];
const PAGE = 100; // documents of the queue that are asked for at once

class ServerSource {
  async ask(path, body) {
    const how = body && {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Docflow-Review": "1" },
      body: JSON.stringify(body),
    };
    let answer;
    try {
      answer = await fetch(`api/${path}`, how);
    } catch {
      throw new Error("docflow review is no longer running. What was decided is kept.");
    }
    const content = await answer.json().catch(() => ({ message: "docflow review gave no answer" }));
    if (!answer.ok) throw new Error([content.message, content.hint].filter(Boolean).join(". "));
    return content;
  }

  queue(filter, after) {
    const wanted = new URLSearchParams({ limit: PAGE });
    for (const [name, value] of Object.entries(filter)) if (value) wanted.set(name, value);
    if (after) wanted.set("after", after);
    return this.ask(`queue?${wanted}`);
  }

  document(key) {
    return this.ask(`documents/${key}`);
  }

  image(key, number) {
    return `api/documents/${key}/pages/${number}?side=${window.devicePixelRatio > 1.4 ? 3000 : 2000}`;
  }

  async explain(address) {
    try {
      await this.ask(address.replace(/^api\//, ""));
    } catch (error) {
      return error.message;
    }
    return "";
  }

  say(key, said) {
    return this.ask(`documents/${key}/corrections`, { said });
  }
}

class ReportSource {
  constructor(data) {
    this.data = data;
  }

  async queue(filter) {
    const entries = this.data.documents.filter(
      (one) =>
        (!filter.program || one.program === filter.program) &&
        (!filter.status || one.status === filter.status) &&
        (!filter.state || (filter.state === "done") === (one.state === "done")) &&
        (filter.state !== "look" || one.needs_review),
    );
    return { ...this.data.queue, entries, more: false };
  }

  async document(key) {
    return this.data.documents.find((one) => one.key === key);
  }

  image(key, number) {
    return this.data.images[key]?.[number] ?? null;
  }

  async explain() {
    return "This page is not part of the report.";
  }
}

class Review {
  constructor(source, readOnly) {
    this.source = source;
    this.readOnly = readOnly;
    this.entries = [];
    this.doing = Promise.resolve();
    const choose = (path) => this.select(path);
    const hover = (path) => this.hover(path);
    this.page = new PageView(choose, hover);
    this.record = new RecordView(choose, hover, (...what) => this.act(...what), readOnly);
    for (const name of ["program", "status", "state"]) byId(name).addEventListener("change", () => this.inTurn(() => this.load()));
    document.querySelector("nav").addEventListener("scroll", () => this.told(this.loadMore()));
    document.addEventListener("keydown", (event) => this.key(event));
    byId("help-button").addEventListener("click", () => byId("help").showModal());
    const keys = readOnly ? KEYS.slice(6).filter(([key]) => key !== "A") : KEYS;
    for (const [key, meaning] of keys) {
      const term = element("dt");
      for (const one of key.split("  ")) term.append(element("kbd", "", one), " ");
      byId("keys").append(term, element("dd", "", meaning));
    }
  }

  filter() {
    return { program: byId("program").value, status: byId("status").value, state: byId("state").value };
  }

  // --- the queue

  async load() {
    const answer = await this.source.queue(this.filter());
    this.summary = answer;
    this.entries = answer.entries;
    this.more = answer.more;
    this.options("program", answer.programs);
    this.options("status", answer.statuses);
    byId("look").hidden = !answer.marked;
    byId("dataset").textContent = visible(answer.name);
    document.title = `${visible(answer.name)} - docflow review`;
    byId("queue").replaceChildren(...this.entries.map((entry) => this.line(entry)));
    byId("queue-empty").hidden = this.entries.length > 0;
    this.progress();
    if (this.entries.length) await this.open(this.entries[0].key);
    else this.close();
  }

  async loadMore() {
    const nav = document.querySelector("nav");
    if (!this.more || this.loading || nav.scrollTop + nav.clientHeight < nav.scrollHeight - 600) return;
    this.loading = true;
    try {
      const answer = await this.source.queue(this.filter(), this.entries[this.entries.length - 1].key);
      this.entries.push(...answer.entries);
      this.more = answer.more;
      byId("queue").append(...answer.entries.map((entry) => this.line(entry)));
    } finally {
      this.loading = false;
    }
  }

  options(id, counts) {
    const select = byId(id);
    const chosen = select.value;
    select.replaceChildren(element("option", "", "all"));
    select.firstChild.value = "";
    for (const [name, count] of Object.entries(counts).sort()) {
      const option = element("option", "", `${shortened(name, 40)} (${count})`);
      option.value = name;
      select.append(option);
    }
    select.value = chosen;
  }

  line(entry) {
    const line = element("li", `entry ${entry.state}`);
    line.dataset.key = entry.key;
    line.append(element("span", `dot ${entry.status === "failed" ? "" : level(entry.confidence)}`));
    const folders = entry.source.split("/");
    const source = element("span", "source", shortened(folders.pop(), 120) + (entry.part ? ` ${entry.part}` : ""));
    source.title = visible(entry.source);
    line.append(source, element("span", "sure", entry.state === "done" ? "\u2713" : percent(entry.confidence)));
    const about = [entry.program];
    if (entry.status !== "valid") about.push(entry.status);
    if (entry.missing_rows) about.push("rows missing?");
    if (entry.state === "partly") about.push("begun");
    if (folders.length) about.push(shortened(folders.join("/"), 60));
    line.append(element("span", "about", visible(about.join(" \u00b7 "))));
    line.addEventListener("click", () => this.inTurn(() => this.open(entry.key)));
    return line;
  }

  progress() {
    const { documents, reviewed } = this.summary;
    byId("count").textContent = `${reviewed} of ${documents} reviewed`;
    byId("fill").style.width = documents ? `${(100 * reviewed) / documents}%` : "0";
  }

  // --- one document

  async open(key) {
    const view = await this.source.document(key);
    this.key_ = key;
    for (const line of byId("queue").children) line.classList.toggle("current", line.dataset.key === key);
    byId("queue").querySelector(".current")?.scrollIntoView({ block: "nearest" });
    this.draw(view);
    this.page.open(view, this.leaves, (number) => this.source.image(key, number), (address) => this.source.explain(address));
    const first = this.leaves.find((leaf) => !leaf.decision && (leaf.value !== null || leaf.reason !== "absent"));
    this.select((first ?? this.leaves[0])?.path ?? null);
  }

  close() {
    const view = { key: "", source: "", sources: [], pages: [], groups: [], lost: [], error: null };
    this.draw(view);
    this.page.open(view, [], () => null, async () => "");
    this.select(null);
  }

  draw(view) {
    this.view = view;
    this.leaves = leavesOf(view);
    this.record.open(view, this.leaves);
  }

  select(path) {
    this.selected = path;
    this.record.select(path);
    this.page.select(path);
  }

  hover(path) {
    this.record.mark(this.selected, path);
    this.page.mark(path);
  }

  leaf() {
    return this.leaves.find((leaf) => leaf.path === this.selected);
  }

  move(by) {
    const at = this.leaves.findIndex((leaf) => leaf.path === this.selected) + by;
    if (at >= 0 && at < this.leaves.length) this.select(this.leaves[at].path);
    else if (at >= this.leaves.length) this.goOn(1);
  }

  async goOn(by) {
    const at = this.entries.findIndex((entry) => entry.key === this.key_) + by;
    if (at >= this.entries.length - 5) await this.loadMore();
    if (at >= 0 && at < this.entries.length) await this.open(this.entries[at].key);
  }

  // --- what is said

  async say(said, next) {
    let view;
    try {
      view = await this.source.say(this.key_, said);
    } catch (error) {
      this.record.refuse(error.message);
      return;
    }
    const entry = this.entries.find((one) => one.key === view.key);
    if (entry) {
      this.summary.reviewed += (view.state === "done") - (entry.state === "done");
      entry.state = view.state;
      const line = byId("queue").querySelector(`[data-key="${view.key}"]`);
      const drawn = this.line(entry);
      drawn.classList.add("current");
      line.replaceWith(drawn);
    }
    this.progress();
    this.draw(view);
    this.page.leaves = this.leaves;
    this.page.show();
    next();
  }

  async act(action, path, first) {
    const leaf = this.leaves.find((one) => one.path === path);
    if (action === "add") return this.editNew(path, first);
    if (!leaf) return undefined;
    // Whoever clicked on another value meanwhile stays there.
    const onwards = () => (this.selected === leaf.path ? this.toUndecided(leaf.path) : this.select(this.selected));
    const stay = () => this.select(leaf.path);
    if (action === "edit") {
      const save = (text) => this.say([{ path: leaf.path, action: "correct", text, seen: leaf.value }], onwards);
      return this.record.edit(leaf, save);
    }
    if (action === "remove") return this.say([{ path: leaf.row.path, action: "absent" }], onwards);
    if (action === "withdraw") {
      const own = leaf.row?.leaves.find((one) => one.path === leaf.path)?.decision;
      const path_ = leaf.row?.removed && !own ? leaf.row.path : leaf.path;
      return this.say([{ path: path_, action: "withdraw" }], stay);
    }
    return this.say([{ path: leaf.path, action, seen: leaf.value }], onwards);
  }

  // A value of a row that is not there yet: the row appears with its first value.
  editNew(row, first) {
    const group = this.view.groups.find((one) => one.next === row);
    const path = first ? `${row}.${first}` : row;
    const leaf = { path, name: first, kind: "text", choices: [], value: null, shown: null, raw: null, boxes: [], row: { added: true } };
    this.selected = path;
    this.record.mark(null, null);
    const known = group.rows.flatMap((one) => one.leaves).find((one) => one.name === (first || "value"));
    if (known) [leaf.kind, leaf.choices] = [known.kind, known.choices];
    this.record.edit(leaf, (text) => this.say([{ path, action: "correct", text, seen: null }], () => this.select(path)));
  }

  toUndecided(after) {
    const at = this.leaves.findIndex((leaf) => leaf.path === after);
    const order = [...this.leaves.slice(at + 1), ...this.leaves.slice(0, at + 1)];
    const next = order.find((leaf) => !leaf.decision);
    if (next) this.select(next.path);
    else if (this.view.state === "done") this.goOn(1);
    else this.select(after);
  }

  acceptRest() {
    const rest = this.leaves.filter((leaf) => !leaf.decision);
    if (!rest.length) return this.goOn(1);
    const said = rest.map((leaf) => ({ path: leaf.path, action: "accept", seen: leaf.value }));
    return this.say(said, () => this.goOn(1));
  }

  // --- keys

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
    if (event.target.closest("input, select, textarea")) return;
    if (event.key === "Enter" && event.target.closest("button")) return;
    const leaf = () => this.leaf();
    const moves = {
      j: () => this.move(1),
      ArrowDown: () => this.move(1),
      k: () => this.move(-1),
      ArrowUp: () => this.move(-1),
      n: () => this.goOn(1),
      p: () => this.goOn(-1),
      "]": () => this.page.turn(1),
      "[": () => this.page.turn(-1),
      "+": () => this.page.magnify(1.25),
      "=": () => this.page.magnify(1.25),
      "-": () => this.page.magnify(0.8),
      0: () => this.page.magnify(0),
      "?": () => byId("help").showModal(),
    };
    const about = (action, fits = () => true) => () => leaf() && fits(leaf()) && this.act(action, leaf().path);
    const decisions = {
      a: about("accept"),
      Enter: about("accept"),
      e: about("edit", (one) => one.kind !== "list"),
      x: about("absent", (one) => one.kind !== "list"),
      X: about("remove", (one) => one.row && !one.row.added),
      u: about("withdraw", (one) => one.decision),
      r: () => this.addRow(leaf()),
      A: () => this.view.groups.length && this.acceptRest(),
    };
    const chosen = moves[event.key] ?? (this.readOnly ? undefined : decisions[event.key]);
    if (!chosen) return;
    event.preventDefault();
    this.inTurn(chosen);
  }

  addRow(leaf) {
    const group = leaf?.list ?? this.view.groups.find((one) => one.columns);
    if (group) this.act("add", group.next, group.first);
  }

  // One after the other: a key that is pressed while the last decision is on its way is about the value after it.
  inTurn(what) {
    this.doing = this.doing.then(() => this.told(Promise.resolve().then(what)));
  }

  // Shows what went wrong while something was loaded.
  async told(promise) {
    try {
      await promise;
    } catch (error) {
      byId("toast").textContent = error.message;
      byId("toast").hidden = false;
      setTimeout(() => (byId("toast").hidden = true), 6000);
    }
  }
}

const embedded = document.getElementById("report-data");
const review = embedded
  ? new Review(new ReportSource(JSON.parse(embedded.textContent)), true)
  : new Review(new ServerSource(), false);
if (embedded) byId("mode").textContent = "report";
review.inTurn(() => review.load());
