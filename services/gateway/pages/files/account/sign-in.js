import { approve } from "/account/approve.js";
import { Refusal, button, call, complain, digits, element, fragment, item, on, say, show } from "/account/client.js";
import { methods } from "/account/methods.js";
import { register, signIn, stepUp, supported } from "/account/passkeys.js";
import { begin as beginQR, cancel as cancelQR } from "/account/qr.js";

// What a user can do about each gate.
const gates = {
  GATE_TRAINING: "Your training is missing or older than a year. Ask your administrator to record it.",
  GATE_ATTESTATION: "This device was not attested within 30 days. Attest it in your account.",
  GATE_BAA: "Your practice has no business associate agreement in force. Ask your administrator.",
  GATE_FACTOR: "Your practice asks for a stronger second factor.",
  GATE_NETWORK: "You are in a new network. Give a second factor.",
  GATE_CERTIFICATION: "Nobody confirmed your access in the last review. Ask your administrator.",
};

const two = "ASSURANCE_AAL2";

// What brought the user here: an invitation, which goes on to the authenticator app, or
// the QR code of another device, which goes on to approving it.
const came = fragment();
let wanted = came.startsWith("qr=") ? came.slice(3) : "";

let offered = [];
let bare = false; // nothing is set up yet but the mail address, which everybody has
let current;

// arrive goes on after any step that opened or raised a session.
async function arrive(session) {
  for (const form of ["password-form", "code-form", "confirm-form"]) element(form).reset();
  if (session.assurance === two) return home(await call("GET", "/v1/self"));
  return prove();
}

// prove asks for the strongest second factor that the user has. Who has none sets one up,
// even where the practice would take a code by mail.
async function prove() {
  const { factors } = await call("GET", "/v1/self/factors");
  offered = factors.filter((f) => f.secondFactor && methods[f.method]);
  bare = factors.every((f) => f.method === "METHOD_EMAIL");
  if (bare) return enrol();
  if (offered.length > 0) return ask(offered[0]);
  await leave();
  throw new Refusal(0, { message: "This browser cannot ask for any of your second factors. Use another one." });
}

// home is where a session ends up that needs no further step.
function home(self) {
  if (!wanted) return account(self);
  if (self.assurance !== two || self.gates?.includes("GATE_NETWORK")) return prove();
  return approve(wanted, { fresh, done: leave });
}

// fresh does what takes a proof of two factors that is not older than five minutes, or
// asks for that proof, after which the user asks once more.
async function fresh(work) {
  try {
    await work();
  } catch (error) {
    if (error.reason !== "REAUTHENTICATE") throw error;
    show("confirm");
  }
}

async function leave() {
  wanted = "";
  return account(await call("GET", "/v1/self"));
}

// ask asks for one second factor and offers the others.
async function ask(factor) {
  current = methods[factor.method];
  show("second");
  element("code-form").hidden = !current.verify;
  element("code").value = "";
  element("others").replaceChildren(
    ...(current.begin ? [button(current.again, () => begin(current))] : []),
    ...offered.filter((other) => other !== factor).map((other) => button(methods[other.method].title, () => ask(other))),
    ...(bare ? [button("Set up an authenticator app", enrol)] : []),
    button("Start over", signOut));
  if (current.verify) {
    element("code-label").textContent = current.label;
    element("code-hint").textContent = current.hint(factor);
    element("code").inputMode = current.keys;
    element("code").autocomplete = current.keys === "numeric" ? "one-time-code" : "off";
    element("code").focus();
  }
  await begin(current);
}

async function begin(method) {
  if (!method.begin) return;
  const session = await method.begin();
  if (session) await arrive(session);
}

async function enrol() {
  const { secret, uri } = await call("POST", "/v1/auth:enrolTotp");
  element("enrol-key").textContent = secret;
  element("enrol-link").href = uri;
  element("enrol-others").replaceChildren(...offered.map((other) => button(methods[other.method].title, () => ask(other))));
  show("enrol");
}

function account({ user, assurance, gates: closed = [] }) {
  element("who").textContent = user.displayName ? `${user.displayName} (${user.username})` : user.username;
  element("role").textContent = [user.role.replace("ROLE_KIND_", "").toLowerCase(), user.template].filter(Boolean).join(", ");
  element("assurance").textContent = assurance === two ? "two factors (AAL2)" : "one factor (AAL1)";
  element("more").hidden = assurance === two && !closed.includes("GATE_NETWORK");
  element("gates").replaceChildren(...closed.map((gate) => item(gates[gate] || gate)));
  show("account");
}

async function signOut() {
  await call("POST", "/v1/auth:signOut").catch((error) => {
    // A session that has already ended needs no end.
    if (!(error instanceof Refusal) || error.status !== 401) throw error;
  });
  show("start");
  say("You are signed out.");
}

on(element("password-form"), "submit", async () => arrive(await call("POST", "/v1/auth:signIn", {
  username: element("username").value.trim(), password: element("password").value,
})));
on(element("code-form"), "submit", async () => arrive(await current.verify(element("code").value)));
on(element("enrol-form"), "submit", async () => arrive(await call("POST", "/v1/auth:confirmTotp", { totpCode: element("enrol-code").value })));
on(element("sign-out"), "click", signOut);
on(element("passkey-sign-in"), "click", async () => arrive(await signIn()));
on(element("passkey-form"), "submit", () => fresh(async () => {
  const { session } = await register(element("passkey-name").value.trim());
  element("passkey-form").reset();
  if (session) await arrive(session);
  say("The passkey is registered.");
}));
on(element("confirm-form"), "submit", async () => arrive(await call("POST", "/v1/auth:reauthenticate", {
  password: element("confirm-password").value, totpCode: digits(element("confirm-code").value),
})));
on(element("confirm-passkey"), "click", async () => arrive(await stepUp()));
on(element("confirm-cancel"), "click", leave);
on(element("more"), "click", prove);
on(element("qr-begin"), "click", async () => {
  const wait = await beginQR();
  // The wait outlasts the click.
  wait().then((session) => session && arrive(session)).catch((error) => {
    show("start");
    complain(error);
  });
});
on(element("qr-cancel"), "click", () => {
  cancelQR();
  show("start");
});

for (const id of ["passkey-sign-in", "passkey-form", "confirm-passkey"]) element(id).hidden = !supported;

// Who is signed in already goes on; who is not starts.
call("GET", "/v1/self").then((self) => (came === "enrol" ? enrol() : home(self))).catch((error) => {
  if (!(error instanceof Refusal) || error.status !== 401) return complain(error);
  if (wanted) say("Sign in here first. Then you can sign the other device in.");
  element("username").focus();
});
