// The API as the account pages call it: the session is a cookie that no script
// can read, so nothing here holds a token.

export class Refusal extends Error {
  constructor(status, body, retry) {
    super(body.message || "The server did not answer as expected. Try again.");
    this.status = status;
    this.reason = (body.details || []).map((d) => d.reason).find(Boolean) || "";
    this.retry = Number(retry) || 0;
    // What is wrong with which field, by the API's name of it.
    this.fields = (body.details || []).flatMap((d) => d.fieldViolations || []);
  }
}

export async function call(method, path, body) {
  const headers = { "X-Session-Transport": "cookie" };
  if (method === "POST") headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method, headers, credentials: "same-origin", cache: "no-store", redirect: "error",
      body: method === "POST" ? JSON.stringify(body || {}) : undefined,
    });
  } catch {
    throw new Refusal(0, { message: "The server cannot be reached. Check the connection and try again." });
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(response.status, answer, response.headers.get("Retry-After"));
  return answer;
}

export const element = (id) => document.getElementById(id);

// show shows one section, and tells a screen reader by moving the focus to its title.
export function show(id) {
  for (const section of document.querySelectorAll("section")) section.hidden = section.id !== id;
  element(id + "-title").focus();
}

export function say(text) { element("status").textContent = text; }

// complain says what went wrong and moves the focus there: what a user typed stays below.
export function complain(error) {
  if (!(error instanceof Refusal)) console.error(error);
  element("message").textContent = error instanceof Refusal ? advice(error) : "Something went wrong on this page. Reload it.";
  for (const { field } of error.fields || []) for (const input of document.getElementsByName(field)) input.ariaInvalid = "true";
  element("message").focus();
}

const advice = ({ message, fields, retry }) =>
  [message, ...fields.map((f) => f.description)].map(sentence).join(" ") + (retry ? ` Try again in ${retry} seconds.` : "");

export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

// digits is a code as people type it: with spaces or hyphens.
export const digits = (code) => code.replace(/[\s-]/g, "");

// fragment is what stands behind the # of a link, which browsers send to no server.
// It leaves the address bar, and so the history, at once. A link that is opened in a
// page that is already there loads it again.
export function fragment() {
  const found = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  addEventListener("hashchange", () => location.reload());
  return found;
}

// on runs what a form or a button asks for, once at a time, and says what went wrong.
export function on(target, event, work) {
  target.addEventListener(event, async (e) => {
    e.preventDefault();
    if (target.ariaBusy === "true") return;
    target.ariaBusy = "true";
    element("message").textContent = "";
    for (const input of document.querySelectorAll("[aria-invalid]")) input.ariaInvalid = null;
    say("");
    try {
      await work();
    } catch (error) {
      complain(error);
    } finally {
      target.ariaBusy = null;
    }
  });
}

// item makes a list item.
export function item(content) {
  const made = document.createElement("li");
  made.append(content);
  return made;
}

// button makes a button inside a list item.
export function button(text, work) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  on(made, "click", work);
  return item(made);
}
