import { Refusal, call } from "/account/client.js";

// supported: without these the browser would need the options decoded by hand.
export const supported = Boolean(window.PublicKeyCredential?.parseRequestOptionsFromJSON && PublicKeyCredential.parseCreationOptionsFromJSON);

// signIn asks for no name: the passkey says whose it is.
export const signIn = () => prove("SignIn");

// stepUp raises the session that there is.
export const stepUp = () => prove("StepUp");

async function prove(what) {
  const { ceremony, options } = await call("POST", `/v1/passkeys:begin${what}`);
  const credential = await ask(() => navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) }));
  return call("POST", `/v1/passkeys:finish${what}`, { ceremony, credential });
}

export async function register(displayName) {
  const { ceremony, options } = await call("POST", "/v1/passkeys:beginRegistration");
  const credential = await ask(() => navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) }));
  return call("POST", "/v1/passkeys:finishRegistration", { ceremony, credential, displayName });
}

// What a user can do about each refusal of the browser or the authenticator.
const refusals = {
  NotAllowedError: "No passkey was given in time. Try again.",
  InvalidStateError: "This device already holds a passkey of yours. Use that one, or register another device.",
  NotSupportedError: "This device cannot make the passkey that is asked for. Use another device.",
  SecurityError: "Passkeys belong to another address of this service. Open the page at its usual address.",
};

async function ask(work) {
  try {
    return (await work()).toJSON();
  } catch (error) {
    throw refusals[error.name] ? new Refusal(0, { message: refusals[error.name] }) : error;
  }
}
