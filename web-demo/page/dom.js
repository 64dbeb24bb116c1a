// Small things for pages. Whatever people or servers wrote goes in as text, never as markup.

const LINK = /\bhttps?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]]/g;

/** @param {string} id @returns {any} */
export const $ = (id) => document.getElementById(id);

/**
 * `class` is a class name; `on…` are listeners; other properties are attributes. Children are text or nodes.
 *
 * @returns {any}
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Leaves what is the same alone, so that nobody is read the same twice. */
export function setText(node, value) {
  const text = String(value);
  if (node.textContent !== text) node.textContent = text;
}

/** The address if it is one that may be followed from here: http or https, nothing else. */
export function safeAddress(text) {
  try {
    const url = new URL(text);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

export function link(address, ...children) {
  return element("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow" }, ...children);
}

/** Text with its http(s) addresses as links. */
export function linked(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    const address = safeAddress(match[0]);
    if (!address) continue;
    parts.push(text.slice(end, match.index), link(address, match[0]));
    end = match.index + match[0].length;
  }
  return [...parts, text.slice(end)].filter((part) => part !== "");
}

/** The same colour for the same name, everywhere. */
export function hueOf(name) {
  let hash = 7;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 3600;
  return String(hash % 360);
}

/** A round sign with the first letters of a name; the name itself stands beside it. */
export function avatar(name) {
  const letters = name.replace(/[^A-Za-z0-9]+/g, " ").trim().split(" ");
  const text = (letters.length > 1 ? letters[0][0] + letters[1][0] : name.slice(0, 2)).toUpperCase();
  const made = element("span", { class: "avatar", "aria-hidden": "true" }, text);
  made.style.setProperty("--hue", hueOf(name));
  return made;
}

/** A paper clip. */
export function clip() {
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [name, value] of Object.entries({ viewBox: "0 0 24 24", class: "clip", "aria-hidden": "true" })) drawn.setAttribute(name, value);
  path.setAttribute("d", "M20 11.5l-8.3 8.2a5 5 0 0 1-7.1-7.1l8.8-8.7a3.4 3.4 0 0 1 4.8 4.8l-8.8 8.7a1.7 1.7 0 0 1-2.4-2.4l7.7-7.6");
  drawn.append(path);
  return drawn;
}

export function timeOf(createdAt) {
  const at = new Date(createdAt);
  if (Number.isNaN(at.getTime())) return null;
  const text = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return element("time", { datetime: at.toISOString(), title: at.toLocaleString() }, text);
}

export function dayOf(createdAt) {
  const at = new Date(createdAt);
  if (Number.isNaN(at.getTime())) return "";
  const today = new Date();
  const yesterday = new Date(today.getTime() - 86_400_000);
  if (at.toDateString() === today.toDateString()) return "Today";
  if (at.toDateString() === yesterday.toDateString()) return "Yesterday";
  return at.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long" });
}

export function listOf(names) {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
