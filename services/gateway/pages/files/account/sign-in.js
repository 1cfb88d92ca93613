import { Refusal, button, call, complain, element, on, say, show } from "/account/client.js";
import { methods } from "/account/methods.js";
import { register, signIn, supported } from "/account/passkeys.js";

// What a user can do about each gate.
const gates = {
  GATE_TRAINING: "Your training is missing or older than a year. Ask your administrator to record it.",
  GATE_ATTESTATION: "This device was not attested within 30 days. Attest it in your account.",
  GATE_BAA: "Your practice has no business associate agreement in force. Ask your administrator.",
  GATE_FACTOR: "Your practice asks for a stronger second factor.",
  GATE_NETWORK: "You are in a new network. Give a second factor.",
  GATE_CERTIFICATION: "Nobody confirmed your access in the last review. Ask your administrator.",
};

let offered = [];

// arrive goes on after any step that opened or raised a session.
async function arrive(session) {
  element("password-form").reset();
  element("code-form").reset();
  offered = (session.secondFactors || []).filter((m) => methods[m]);
  if (session.assurance === "ASSURANCE_AAL1" && session.nextStep === "NEXT_STEP_ENROL_TOTP") return enrol();
  if (session.assurance === "ASSURANCE_AAL1" && offered.length > 0) return ask(offered[0]);
  return account(await call("GET", "/v1/self"));
}

let current;

// ask asks for one second factor and offers the others.
async function ask(name) {
  current = methods[name];
  show("second");
  element("code-form").hidden = !current.verify;
  element("code").value = "";
  element("others").replaceChildren(
    ...offered.filter((other) => other !== name).map((other) => button(methods[other].title, () => ask(other))),
    ...(current.begin ? [button(current.again, () => begin(current))] : []),
    button("Start over", signOut));
  if (current.verify) {
    element("code-label").textContent = current.label;
    element("code-hint").textContent = current.hint;
    element("code").inputMode = current.keys;
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
  show("enrol");
}

function account(self) {
  const { user, assurance } = self;
  element("who").textContent = user.displayName ? `${user.displayName} (${user.username})` : user.username;
  element("role").textContent = [user.role.replace("ROLE_KIND_", "").toLowerCase(), user.template].filter(Boolean).join(", ");
  element("assurance").textContent = assurance === "ASSURANCE_AAL2" ? "two factors (AAL2)" : "one factor (AAL1)";
  element("more").hidden = assurance === "ASSURANCE_AAL2";
  element("gates").replaceChildren(...(self.gates || []).map((gate) => {
    const item = document.createElement("li");
    item.textContent = gates[gate] || gate;
    return item;
  }));
  show("account");
}

async function signOut() {
  await call("POST", "/v1/auth:signOut").catch((error) => {
    // A session that has already ended needs no end.
    if (!(error instanceof Refusal) || error.status !== 401) throw error;
  });
  show("start");
  element("username").focus();
  say("You are signed out.");
}

on(element("password-form"), "submit", async () => arrive(await call("POST", "/v1/auth:signIn", {
  username: element("username").value.trim(), password: element("password").value,
})));
on(element("code-form"), "submit", async () => arrive(await current.verify(element("code").value)));
on(element("enrol-form"), "submit", async () => arrive(await call("POST", "/v1/auth:confirmTotp", { totpCode: element("enrol-code").value })));
on(element("sign-out"), "click", signOut);
on(element("passkey-sign-in"), "click", async () => arrive(await signIn()));
on(element("passkey-form"), "submit", async () => {
  const { session } = await register(element("passkey-name").value.trim());
  element("passkey-form").reset();
  if (session) await arrive(session);
  say("The passkey is registered.");
});
on(element("more"), "click", async () => {
  offered = ["METHOD_TOTP"];
  return ask(offered[0]);
});

element("passkey-sign-in").hidden = element("passkey-form").hidden = !supported;

// Who is signed in already sees so; who comes from an invitation goes on to the
// authenticator app; who is not signed in starts.
const invited = location.hash === "#enrol";
history.replaceState(null, "", location.pathname);
call("GET", "/v1/self").then((self) => (invited ? enrol() : account(self))).catch((error) => {
  if (!(error instanceof Refusal) || error.status !== 401) complain(error);
  element("username").focus();
});
