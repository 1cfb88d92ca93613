import { call, digits, say } from "/account/client.js";
import { stepUp, supported } from "/account/passkeys.js";

// The second factors that this page can ask for, by the API's names. begin runs
// before a code can be given; verify takes the code and answers with the session.
// hint is for the factor as the API lists it.
export const methods = {
  METHOD_TOTP: {
    title: "Use the authenticator app",
    label: "Code of your authenticator app",
    hint: () => "Six digits.",
    keys: "numeric",
    verify: (code) => call("POST", "/v1/auth:verifyTotp", { totpCode: digits(code) }),
  },
  METHOD_SMS: {
    title: "Get a code by text message",
    label: "Code of the text message",
    hint: ({ hint }) => `Eight digits, sent to your number that ends in ${hint}.`,
    ...sent("Sms"),
  },
  METHOD_EMAIL: {
    title: "Get a code by mail",
    label: "Code of the mail",
    hint: () => "Eight digits, sent to your mail address.",
    ...sent("Email"),
  },
  METHOD_RECOVERY_CODE: {
    title: "Use a recovery code",
    label: "Recovery code",
    hint: ({ count }) => `One of those that you keep on paper. It counts once; ${count} ${count === 1 ? "is" : "are"} left.`,
    keys: "text",
    verify: (code) => call("POST", "/v1/auth:verifyRecoveryCode", { code }),
  },
  ...(supported && {
    METHOD_PASSKEY: { title: "Use a passkey", again: "Ask for the passkey again", begin: stepUp },
  }),
};

// sent is a code that the server sends. It counts only for the challenge that came with it.
function sent(what) {
  let challenge;
  return {
    keys: "numeric",
    again: "Send another code",
    begin: async () => {
      ({ challenge } = await call("POST", `/v1/auth:send${what}Code`));
      say("A code is on its way. It counts for ten minutes.");
    },
    verify: (code) => call("POST", `/v1/auth:verify${what}Code`, { challenge, code: digits(code) }),
  };
}
