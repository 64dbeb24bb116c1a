export { EdgewayClient } from "./client.js";
export { EdgewayError } from "./errors.js";
export { webStorage } from "./storage.js";
export { Subscription } from "./subscription.js";
