"use strict";
// The page with its boxes, and the few helpers that everything is drawn with.
// What documents say is only ever set as textContent: it is never parsed, whatever it holds.

const byId = (id) => document.getElementById(id);

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined && text !== null) made.textContent = text;
  return made;
}

// Control characters, and those that turn the writing direction or have no width, as signs that can be seen.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

function visible(text) {
  return String(text).replace(UNSEEN, (char) => {
    const code = char.charCodeAt(0);
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : `\u27e8U+${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
  });
}

function shortened(text, most) {
  const seen = visible(text);
  return seen.length > most ? `${seen.slice(0, most)}\u2026` : seen;
}

function percent(confidence) {
  if (confidence === null || confidence === undefined) return "";
  return `${Math.floor(confidence * 100)}%`;
}

function level(confidence) {
  if (confidence === null || confidence === undefined) return "";
  return confidence < 0.5 ? "low" : confidence < 0.8 ? "middle" : "high";
}

// Shows one page at a time. `choose` is called with the path of a box that was clicked, `hover` with one entered or null.
class PageView {
  constructor(choose, hover) {
    this.choose = choose;
    this.hover = hover;
    this.zoom = 1;
    this.number = 1;
    this.pages = [];
    this.leaves = [];
    this.missing = [];
    byId("page-back").addEventListener("click", () => this.turn(-1));
    byId("page-on").addEventListener("click", () => this.turn(1));
    byId("zoom-in").addEventListener("click", () => this.magnify(1.25));
    byId("zoom-out").addEventListener("click", () => this.magnify(0.8));
    byId("zoom-fit").addEventListener("click", () => this.magnify(0));
    new ResizeObserver(() => this.resize()).observe(byId("scroller"));
  }

  // `image` gives the address of a page's image, a promise of one, or null where there is none; `explain` says why one
  // is missing.
  open(view, leaves, image, explain) {
    this.pages = view.pages;
    this.leaves = leaves;
    this.missing = view.missing;
    this.image = image;
    this.explain = explain;
    this.selected = null;
    this.number = this.pages.length ? this.pages[0].number : 1;
    byId("title").textContent = visible(view.source) + (view.part ? ` ${view.part}` : "");
    byId("title").title = visible(view.sources.join("\n"));
    this.show();
  }

  turn(by) {
    const at = this.pages.findIndex((page) => page.number === this.number) + by;
    if (at < 0 || at >= this.pages.length) return;
    this.number = this.pages[at].number;
    this.show();
    byId("scroller").scrollTop = 0;
  }

  magnify(by) {
    const before = this.zoom;
    this.zoom = by === 0 ? 1 : Math.min(6, Math.max(0.4, this.zoom * by));
    const scroller = byId("scroller");
    const [x, y] = [scroller.scrollLeft + scroller.clientWidth / 2, scroller.scrollTop + scroller.clientHeight / 2];
    this.resize();
    const grown = this.zoom / before;
    scroller.scrollLeft = x * grown - scroller.clientWidth / 2;
    scroller.scrollTop = y * grown - scroller.clientHeight / 2;
  }

  page() {
    return this.pages.find((page) => page.number === this.number);
  }

  show() {
    const sheet = byId("page");
    sheet.replaceChildren();
    byId("page-note").hidden = true;
    const page = this.page();
    byId("page-number").textContent = this.pages.length ? `${this.number} / ${this.pages[this.pages.length - 1].number}` : "";
    byId("page-back").disabled = !page || page === this.pages[0];
    byId("page-on").disabled = !page || page === this.pages[this.pages.length - 1];
    sheet.hidden = !page;
    if (!page) return;
    const address = this.image(this.number);
    if (address) {
      const picture = element("img");
      picture.alt = `page ${this.number}`;
      picture.draggable = false;
      picture.addEventListener("error", async () => {
        picture.remove();
        const said = await this.explain(address);
        if (this.page() === page) this.note(said);
      });
      const place = (found) => (picture.src = found);
      const refuse = (error) => {
        picture.remove();
        if (this.page() === page) this.note(error.message);
      };
      if (typeof address === "string") place(address);
      else address.then(place, refuse);
      sheet.append(picture);
    } else {
      this.note("This page is not part of the report.");
    }
    for (const leaf of this.leaves) {
      for (const place of leaf.boxes) if (place.page === this.number) sheet.append(this.box(leaf, place.box, page));
    }
    for (const one of this.missing) if (one.page === this.number) sheet.append(this.suspect(one, page));
    this.resize();
    this.mark();
  }

  note(text) {
    byId("page-note").textContent = text;
    byId("page-note").hidden = !text;
  }

  frame(className, [x0, y0, x1, y1], page) {
    const drawn = element("div", className);
    drawn.style.left = `${(100 * x0) / page.width}%`;
    drawn.style.top = `${(100 * y0) / page.height}%`;
    drawn.style.width = `${(100 * (x1 - x0)) / page.width}%`;
    drawn.style.height = `${(100 * (y1 - y0)) / page.height}%`;
    return drawn;
  }

  // A line that looks like a row which a list lacks.
  suspect(one, page) {
    const drawn = this.frame("box suspect", one.box, page);
    drawn.title = shortened(`a row missing from ${one.list}? ${one.text}`, 200);
    return drawn;
  }

  box(leaf, place, page) {
    const drawn = this.frame(`box ${leaf.decision ? "decided" : level(leaf.confidence)}`, place, page);
    drawn.dataset.path = leaf.path;
    drawn.title = shortened(`${leaf.path}: ${leaf.shown ?? ""}`, 200);
    drawn.addEventListener("click", () => this.choose(leaf.path));
    drawn.addEventListener("mouseenter", () => this.hover(leaf.path));
    drawn.addEventListener("mouseleave", () => this.hover(null));
    return drawn;
  }

  resize() {
    const page = this.page();
    if (!page) return;
    const scroller = byId("scroller");
    const room = scroller.clientWidth - 40;
    // Wide enough to read, and not higher than two screens for a long receipt.
    const fit = Math.min(room, (scroller.clientHeight * 1.9 * page.width) / page.height);
    const width = Math.max(160, fit) * this.zoom;
    byId("page").style.width = `${width}px`;
    byId("page").style.height = `${(width * page.height) / page.width}px`;
    byId("zoom-fit").textContent = `${Math.round(this.zoom * 100)}%`;
  }

  select(path) {
    this.selected = path;
    const leaf = this.leaves.find((one) => one.path === path);
    if (leaf && leaf.boxes.length && !leaf.boxes.some((place) => place.page === this.number)) {
      this.number = leaf.boxes[0].page;
      this.show();
    }
    this.mark();
    const drawn = byId("page").querySelector(".box.current");
    if (drawn) {
      const [box, frame] = [drawn.getBoundingClientRect(), byId("scroller").getBoundingClientRect()];
      if (box.top < frame.top + 20 || box.bottom > frame.bottom - 20 || box.left < frame.left || box.right > frame.right) {
        drawn.scrollIntoView({ block: "center", inline: "center" });
      }
    }
  }

  // Marks what is selected and what the mouse is over.
  mark(hovered = null) {
    for (const drawn of byId("page").querySelectorAll(".box")) {
      drawn.classList.toggle("current", drawn.dataset.path === this.selected);
      drawn.classList.toggle("hover", drawn.dataset.path === hovered);
    }
  }
}
