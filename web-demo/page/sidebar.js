// The list of dialogs, the people in the one that is open, and who is typing.

import { avatar, element, hueOf, listOf, setText } from "./dom.js";

const PREVIEW_MAX_CHARS = 80;

export class Sidebar {
  #list;
  #chat;
  #open;
  #rows = new Map();

  /** @param {HTMLElement} list @param {(id: string) => void} open */
  constructor(list, chat, open) {
    this.#list = list;
    this.#chat = chat;
    this.#open = open;
  }

  render() {
    for (const dialog of this.#chat.dialogs.values()) {
      const row = this.#rows.get(dialog.id) ?? this.#add(dialog);
      const isOpen = dialog === this.#chat.current;
      if (isOpen) row.button.setAttribute("aria-current", "true");
      else row.button.removeAttribute("aria-current");
      setText(row.preview, previewOf(dialog, this.#chat.me));
      row.count.hidden = dialog.unread === 0;
      setText(row.number, dialog.unread > 99 ? "99+" : dialog.unread);
      row.button.classList.toggle("unread", dialog.unread > 0);
    }
  }

  /** The dialog that stands `steps` further down. */
  neighbour(steps) {
    const ids = [...this.#rows.keys()];
    const at = ids.indexOf(this.#chat.current?.id);
    return ids[(at + steps + ids.length) % ids.length];
  }

  #add({ id }) {
    const preview = element("span", { class: "preview" });
    const number = element("span");
    const count = element("span", { class: "count", hidden: true }, number, element("span", { class: "unseen" }, " unread"));
    const words = element("span", { class: "words" }, element("span", { class: "name" }, id), preview);
    const sign = element("span", { class: "sign", "aria-hidden": "true" }, "#");
    sign.style.setProperty("--hue", hueOf(id));
    const button = element("button", { type: "button", class: "dialog", onclick: () => this.#open(id) }, sign, words, count);
    const row = { button, preview, count, number };
    this.#rows.set(id, row);
    this.#list.append(element("li", {}, button));
    return row;
  }
}

function previewOf(dialog, me) {
  const newest = dialog.newest;
  if (!newest) return dialog.trouble ? "closed to you" : "";
  const text = newest.body?.text ?? newest.body?.attachments?.[0]?.name ?? "";
  return `${newest.sender_id === me ? "You" : newest.sender_id}: ${String(text).replace(/\s+/g, " ").slice(0, PREVIEW_MAX_CHARS)}`;
}

/** Who is here, as round signs and in words. */
export function showPeople(node, dialog, me) {
  const names = [...dialog.people.keys()].sort((a, b) => Number(a === me) - Number(b === me) || a.localeCompare(b));
  const others = names.filter((name) => name !== me);
  const words = dialog.trouble ? "" : others.length === 0 ? "Only you are here" : `${listOf(others.slice(0, 3))}${others.length > 3 ? ` and ${others.length - 3} more` : ""} ${others.length === 1 ? "is" : "are"} here`;
  const signs = names.slice(0, 5).map((name) => {
    const sign = avatar(name);
    sign.classList.add(dialog.people.get(name));
    sign.title = `${name}: ${dialog.people.get(name)}`;
    return sign;
  });
  node.replaceChildren(element("span", { class: "signs" }, ...signs), element("span", { class: "here" }, words));
}

export function showTyping(node, dialog) {
  const names = [...dialog.typists.keys()];
  const who = names.length > 3 ? `${names.length} people` : listOf(names);
  setText(node.querySelector(".words"), names.length === 0 ? "" : `${who} ${names.length === 1 ? "is" : "are"} typing`);
  node.dataset.some = names.length > 0;
}
