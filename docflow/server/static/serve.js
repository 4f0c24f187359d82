"use strict";
// The service's page: documents that are dropped go to the service, and come back as records beside their pages.

const KEYS = [
  ["j  k", "next, previous value"],
  ["n  p", "next, previous document"],
  ["]  [", "next, previous page"],
  ["+  -  0", "zoom in, out, fit"],
  ["o", "choose documents"],
  ["c", "copy the document's JSON"],
];
const AT_ONCE = 3; // documents that are sent and waited for at once
const SCHEMA = "\u0000schema"; // what the choice of a schema is called among the programs

class NeedsKey extends Error {}

class Service {
  constructor() {
    this.key = ""; // in memory alone
  }

  headers(more) {
    return this.key ? { ...more, Authorization: `Bearer ${this.key}` } : { ...more };
  }

  async ask(address, how = {}) {
    let answer;
    try {
      answer = await fetch(address, { ...how, headers: this.headers(how.headers) });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("docflow serve cannot be reached. Is it still running?");
    }
    if (answer.ok) return answer;
    const content = await answer.json().catch(() => ({}));
    const said = content.error?.message ?? content.detail ?? `docflow serve answered ${answer.status}`;
    if (answer.status === 401) throw new NeedsKey(said);
    throw new Error(said);
  }

  async programs() {
    return (await this.ask("/v1/programs")).json();
  }

  async image(address) {
    return URL.createObjectURL(await (await this.ask(address)).blob());
  }

  // Sends a document; `told` gets each event's name and content.
  async extract(file, asked, told) {
    const form = new FormData();
    form.append("file", file, file.name);
    for (const [name, value] of Object.entries(asked)) form.append(name, value);
    const how = { method: "POST", body: form, headers: { Accept: "text/event-stream" } };
    const answer = await this.ask("/v1/extract?view=true", how);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    let ended = false;
    for (;;) {
      const { value, done } = await reader.read().catch(() => ({ done: true }));
      if (done) break;
      text += value;
      const parts = text.split("\n\n");
      text = parts.pop();
      for (const part of parts) {
        const name = /^event: (.*)$/m.exec(part)?.[1];
        const data = /^data: (.*)$/m.exec(part)?.[1];
        if (!name) continue;
        ended ||= name === "done" || name === "error";
        told(name, JSON.parse(data));
      }
    }
    if (!ended) throw new Error("docflow serve went away before it was done.");
  }
}

// What the page and the record draw, of a document as the service answers it.
function viewOf(entry) {
  const content = entry.content;
  return {
    key: entry.key,
    status: content.status,
    source: content.name,
    sources: [content.name],
    part: entry.part,
    pages: content.pages.map((page) => ({ number: page.page, width: page.width, height: page.height })),
    groups: content.view.groups,
    missing: (content.missing_rows ?? []).map((one) => ({ ...one, list: one.path })),
    lost: [],
    error: content.error,
  };
}

function sureOf(content) {
  const all = content.evidence.map((one) => one.confidence);
  return all.length ? Math.min(...all) : null;
}

class Try {
  constructor(service) {
    this.service = service;
    this.entries = [];
    this.waiting = [];
    this.busy = 0;
    this.count = 0;
    this.current = null;
    this.selected = null;
    this.schema = "";
    const choose = (path) => this.select(path);
    const hover = (path) => this.hover(path);
    this.page = new PageView(choose, hover);
    this.record = new RecordView(choose, hover, () => {}, true);
    this.page.show();
    byId("choose").addEventListener("click", () => byId("files").click());
    byId("files").addEventListener("change", () => {
      this.take(byId("files").files);
      byId("files").value = "";
    });
    byId("copy").addEventListener("click", () => this.copy());
    byId("help-button").addEventListener("click", () => byId("help").showModal());
    byId("program").addEventListener("change", () => {
      if (byId("program").value === SCHEMA) byId("schema-dialog").showModal();
    });
    byId("schema-form").addEventListener("submit", () => (this.schema = byId("schema").value));
    byId("key-form").addEventListener("submit", () => {
      this.service.key = byId("key").value.trim();
      byId("key").value = "";
      this.start();
    });
    for (const name of ["dragenter", "dragover"]) {
      document.addEventListener(name, (event) => {
        event.preventDefault();
        document.body.classList.add("dragging");
      });
    }
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) document.body.classList.remove("dragging");
    });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      document.body.classList.remove("dragging");
      this.take(event.dataTransfer.files);
    });
    document.addEventListener("keydown", (event) => this.key(event));
    for (const [key, meaning] of KEYS) {
      const term = element("dt");
      for (const one of key.split("  ")) term.append(element("kbd", "", one), " ");
      byId("keys").append(term, element("dd", "", meaning));
    }
  }

  async start() {
    try {
      const answer = await this.service.programs();
      this.limits = answer.limits;
      this.offer(answer.programs.map((program) => program.name));
      this.next();
    } catch (error) {
      if (error instanceof NeedsKey) this.wantKey();
      else this.say(error.message);
    }
  }

  wantKey() {
    byId("key-said").textContent = this.service.key ? "That key is not known here." : "";
    this.service.key = "";
    if (!byId("key-dialog").open) byId("key-dialog").showModal();
  }

  offer(names) {
    const before = byId("program").value;
    const options = names.map((name) => [name, name === "auto" ? "find out (auto)" : name]);
    options.push([SCHEMA, "JSON Schema\u2026"]);
    byId("program").replaceChildren(
      ...options.map(([value, text]) => {
        const option = element("option", "", shortened(text, 60));
        option.value = value;
        return option;
      }),
    );
    byId("program").value = before || "auto";
  }

  // --- documents on their way

  take(files) {
    const program = byId("program").value;
    const asked = program === SCHEMA ? { schema: this.schema } : { program };
    for (const file of files) {
      const entry = { key: `${++this.count}`, name: file.name, file, asked, state: "waiting", said: "waits" };
      this.entries.push(entry);
      entry.line = element("li");
      byId("queue").append(entry.line);
      if (this.limits && file.size > this.limits.upload_bytes) {
        const most = Math.floor(this.limits.upload_bytes / 104857.6) / 10;
        this.fail(entry, `The file is larger than this service takes (${most} MiB).`);
      } else {
        this.waiting.push(entry);
      }
      this.draw(entry);
    }
    if (!this.current && this.entries.length) this.open(this.entries[0]);
    this.next();
  }

  next() {
    while (this.busy < AT_ONCE && this.waiting.length && this.limits) this.send(this.waiting.shift());
    const left = this.waiting.length + this.busy;
    byId("status").textContent = left ? `${left} in work` : "";
  }

  async send(entry) {
    this.busy += 1;
    entry.state = "busy";
    entry.said = "is sent";
    this.draw(entry);
    try {
      await this.service.extract(entry.file, entry.asked, (name, content) => this.told(entry, name, content));
    } catch (error) {
      if (error instanceof NeedsKey) {
        entry.state = "waiting";
        this.waiting.unshift(entry);
        this.limits = null; // nothing is sent before there is a key
        this.wantKey();
      } else {
        this.fail(entry, error.message);
      }
      this.draw(entry);
    }
    this.busy -= 1;
    this.next();
  }

  told(entry, name, content) {
    if (name === "result") return this.result(entry, content);
    if (name === "error") return this.fail(entry, content.detail);
    if (name !== "progress") return undefined;
    if (content.stage === "opened") entry.pages = content.pages;
    const of = entry.pages > 1 ? ` of ${entry.pages} pages` : "";
    const said = {
      opened: entry.pages > 1 ? `${entry.pages} pages` : "1 page",
      read: of ? `${content.read}${of} read` : "page read",
      asked: "is asked about",
      answered: "answered",
    };
    entry.said = said[content.stage] ?? entry.said;
    return this.draw(entry);
  }

  result(entry, content) {
    let shown = entry;
    if (entry.content) { // a further document of the same file
      shown = { key: `${++this.count}`, name: entry.name, line: element("li") };
      this.entries.splice(this.entries.indexOf(entry) + 1 + (entry.further ?? 0), 0, shown);
      (entry.last ?? entry).line.after(shown.line);
      entry.last = shown;
      entry.further = (entry.further ?? 0) + 1;
    }
    shown.content = content;
    shown.state = content.status;
    const [first, last] = [content.first_page, content.last_page];
    shown.part = content.split > 1 ? (first === last ? `p. ${first}` : `p. ${first}-${last}`) : "";
    shown.images = new Map();
    this.draw(shown);
    if (this.current === shown) this.open(shown);
  }

  fail(entry, message) {
    entry.state = "failed";
    entry.content = {
      name: entry.name, status: "failed", pages: [], evidence: [], missing_rows: null, program: "",
      error: { message, hint: "" }, view: { groups: [], images: {} },
    };
    entry.images = new Map();
    this.draw(entry);
    if (this.current === entry) this.open(entry);
  }

  draw(entry) {
    const line = entry.line;
    line.className = `entry ${entry.state}`;
    line.classList.toggle("current", entry === this.current);
    line.tabIndex = 0;
    const sure = entry.content && entry.state !== "failed" ? sureOf(entry.content) : null;
    const source = element("span", "source", shortened(entry.name, 120) + (entry.part ? ` ${entry.part}` : ""));
    source.title = visible(entry.name);
    const about = entry.content ? [entry.content.program, entry.state === "valid" ? "" : entry.state] : [entry.said];
    line.replaceChildren(
      element("span", `dot ${entry.content ? level(sure) : ""}`),
      source,
      element("span", "sure", percent(sure)),
      element("span", "about", visible(about.filter(Boolean).join(" \u00b7 "))),
    );
    line.onclick = () => this.open(entry);
    line.onkeydown = (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        this.open(entry);
      }
    };
  }

  // --- one document

  open(entry) {
    this.current = entry;
    for (const one of this.entries) one.line.classList.toggle("current", one === entry);
    entry.line.scrollIntoView({ block: "nearest" });
    byId("welcome").hidden = true;
    byId("copy").disabled = !entry.content;
    const view = entry.content
      ? viewOf(entry)
      : { key: entry.key, source: entry.name, sources: [entry.name], pages: [], groups: [], missing: [], lost: [], error: null };
    this.leaves = leavesOf(view);
    this.record.open(view, this.leaves);
    this.page.open(view, this.leaves, (number) => this.image(entry, number), async () => "This page cannot be shown.");
    const first = this.leaves.find((leaf) => leaf.value !== null) ?? this.leaves[0];
    this.select(first?.path ?? null);
  }

  image(entry, number) {
    const address = entry.content.view.images[number];
    if (!address) return null;
    if (!entry.images.has(number)) {
      const side = window.devicePixelRatio > 1.4 ? 3000 : 2000;
      const coming = this.service.image(`${address}?side=${side}`);
      entry.images.set(number, coming);
      coming.catch(() => entry.images.delete(number));
    }
    return entry.images.get(number);
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

  move(by) {
    const at = this.leaves.findIndex((leaf) => leaf.path === this.selected) + by;
    if (at >= 0 && at < this.leaves.length) this.select(this.leaves[at].path);
  }

  goOn(by) {
    const at = this.entries.indexOf(this.current) + by;
    if (at >= 0 && at < this.entries.length) this.open(this.entries[at]);
  }

  async copy() {
    if (!this.current?.content) return;
    const { view, document: number, ...content } = this.current.content;
    const text = JSON.stringify(content, null, 1);
    try {
      await navigator.clipboard.writeText(text);
    } catch { // a page that did not come over https may not
      const area = element("textarea", "", text);
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    this.say("The document's JSON is in the clipboard.");
  }

  say(text) {
    byId("toast").textContent = text;
    byId("toast").hidden = false;
    clearTimeout(this.toast);
    this.toast = setTimeout(() => (byId("toast").hidden = true), 6000);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest("input, select, textarea")) return;
    const moves = {
      j: () => this.current && this.move(1),
      ArrowDown: () => this.current && this.move(1),
      k: () => this.current && this.move(-1),
      ArrowUp: () => this.current && this.move(-1),
      n: () => this.goOn(1),
      p: () => this.goOn(-1),
      "]": () => this.page.turn(1),
      "[": () => this.page.turn(-1),
      "+": () => this.page.magnify(1.25),
      "=": () => this.page.magnify(1.25),
      "-": () => this.page.magnify(0.8),
      0: () => this.page.magnify(0),
      o: () => byId("files").click(),
      c: () => this.copy(),
      "?": () => byId("help").showModal(),
    };
    const chosen = moves[event.key];
    if (!chosen) return;
    event.preventDefault();
    chosen();
  }
}

const page = new Try(new Service());
page.start();
