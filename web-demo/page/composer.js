// Where messages are written.

import { clip, element, safeAddress } from "./dom.js";

const ATTACHMENTS_MAX = 10;
/** What the protocol refuses: control characters other than newline and tab. */
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

export class Composer {
  #parts;
  #attachments = [];

  /**
   * @param {{ form: HTMLFormElement, text: HTMLTextAreaElement, attach: HTMLButtonElement, dialog: HTMLDialogElement,
   *   chips: HTMLElement }} parts
   * @param {{ send: (body: object) => void, typing: (state: "started" | "stopped") => void }} actions
   */
  constructor(parts, { send, typing }) {
    this.#parts = parts;
    const { form, text, attach, dialog } = parts;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const body = this.#take();
      if (body) send(body);
      text.focus();
    });
    text.addEventListener("input", () => {
      this.#grow();
      typing(text.value.trim() === "" ? "stopped" : "started");
    });
    text.addEventListener("blur", () => typing("stopped"));
    text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      form.requestSubmit();
    });
    attach.addEventListener("click", () => dialog.showModal());
    dialog.querySelector("form").addEventListener("submit", (event) => this.#attach(event));
    dialog.addEventListener("input", ({ target }) => /** @type {HTMLInputElement} */ (target).setCustomValidity(""));
    dialog.querySelector(".cancel").addEventListener("click", () => dialog.close());
  }

  #take() {
    const { text } = this.#parts;
    const clean = text.value.replace(/\r\n?/g, "\n").replace(CONTROL, "").trim();
    if (clean === "" && this.#attachments.length === 0) return null;
    const body = { ...(clean && { text: clean }), ...(this.#attachments.length > 0 && { attachments: this.#attachments }) };
    this.#attachments = [];
    text.value = "";
    this.#grow();
    this.#showChips();
    return body;
  }

  #attach(event) {
    event.preventDefault();
    const { dialog } = this.#parts;
    const { url, name } = dialog.querySelector("form").elements;
    const address = safeAddress(url.value.trim());
    url.setCustomValidity(address ? "" : "An address that begins with http:// or https://");
    if (!address) return void url.reportValidity();
    const label = name.value.replace(CONTROL, "").trim() || new URL(address).pathname.split("/").at(-1) || new URL(address).host;
    const id = crypto.getRandomValues(new Uint32Array(2)).join("");
    this.#attachments.push({ id: `a${id}`, name: label.slice(0, 200), mime: "application/octet-stream", size: 0, url: address });
    dialog.querySelector("form").reset();
    dialog.close();
    this.#showChips();
    this.#parts.text.focus();
  }

  #showChips() {
    const { chips, attach } = this.#parts;
    const made = this.#attachments.map((attachment) => {
      const remove = () => {
        this.#attachments = this.#attachments.filter((other) => other !== attachment);
        this.#showChips();
      };
      const button = element("button", { type: "button", "aria-label": `Remove ${attachment.name}`, onclick: remove }, "×");
      return element("li", {}, clip(), attachment.name, button);
    });
    chips.replaceChildren(...made);
    attach.disabled = this.#attachments.length >= ATTACHMENTS_MAX;
  }

  /** As high as what is in it, up to what the style allows. */
  #grow() {
    const { text } = this.#parts;
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight + 2}px`;
  }
}
