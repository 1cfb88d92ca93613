import { call } from "/account/client.js";
import { stepUp, supported } from "/account/passkeys.js";

// The second factors that this page can ask for, by the API's names. begin runs
// before a code can be given; verify takes the code and answers with the session.
export const methods = {
  METHOD_TOTP: {
    title: "Use the authenticator app",
    label: "Code of your authenticator app",
    hint: "Six digits.",
    keys: "numeric",
    verify: (code) => call("POST", "/v1/auth:verifyTotp", { totpCode: digits(code) }),
  },
  ...(supported && {
    METHOD_PASSKEY: { title: "Use a passkey", again: "Ask for the passkey again", begin: stepUp },
  }),
};

// digits is a code as people type it: with spaces or hyphens.
const digits = (code) => code.replace(/[\s-]/g, "");
