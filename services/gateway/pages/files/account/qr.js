import { Refusal, call, element, show } from "/account/client.js";

// The API asks for two seconds or more between two questions. A request lives for
// two minutes; where the server cannot be reached, this page gives up after three.
const pause = 2000;
const patience = 3 * 60 * 1000;

let turn = 0;

// cancel ends the wait for the phone.
export function cancel() { turn++; }

// begin shows a QR code and the number that goes with it. What it answers waits for
// the phone: it gives the session, or nothing where it was cancelled. The secret that
// polls is kept in memory only.
export async function begin() {
  const mine = ++turn;
  const { request, browserSecret, svg, number } = await call("POST", "/v1/auth:beginQrSignIn");
  element("qr-image").src = "data:image/svg+xml," + encodeURIComponent(svg);
  element("qr-number").textContent = number;
  show("qr");
  return () => wait({ request, browserSecret }, () => mine === turn);
}

async function wait(asked, going) {
  const end = performance.now() + patience;
  let next = pause;
  while (performance.now() < end) {
    await new Promise((done) => setTimeout(done, next));
    if (!going()) return undefined;
    next = pause;
    try {
      const { state, session } = await call("POST", "/v1/auth:pollQrSignIn", asked);
      if (state === "STATE_SIGNED_IN") return session;
      if (state === "STATE_DENIED") throw new Refusal(403, { message: "The phone refused." });
      if (state === "STATE_EXPIRED") break;
    } catch (error) {
      // A server that is busy or cannot be reached for a moment ends nothing.
      if (!(error instanceof Refusal) || error.status !== 0 && error.status !== 429 && error.status < 500) throw error;
      next = Math.max(pause, error.retry * 1000);
    }
  }
  throw new Refusal(0, { message: "The QR code is too old. Ask for a new one." });
}
