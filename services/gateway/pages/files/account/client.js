// The API as the account pages call it: the session is a cookie that no script
// can read, so nothing here holds a token.

export class Refusal extends Error {
  constructor(status, body, retry) {
    super(body.message || "The server did not answer as expected. Try again.");
    this.status = status;
    this.reason = (body.details || []).map((d) => d.reason).find(Boolean) || "";
    this.retry = Number(retry) || 0;
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

export function complain(error) {
  const wait = error.retry ? ` Try again in ${error.retry} seconds.` : "";
  element("message").textContent = error instanceof Refusal ? sentence(error.message) + wait : "Something went wrong on this page. Reload it.";
  if (!(error instanceof Refusal)) console.error(error);
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

// on runs what a form or a button asks for, once at a time, and says what went wrong.
export function on(target, event, work) {
  target.addEventListener(event, async (e) => {
    e.preventDefault();
    if (target.ariaBusy === "true") return;
    target.ariaBusy = "true";
    element("message").textContent = "";
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

// button makes a button inside a list item.
export function button(text, work) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  on(made, "click", work);
  const item = document.createElement("li");
  item.append(made);
  return item;
}
