import { button, call, element, on, say, sentence, show } from "/account/client.js";

let deny;

// approve shows the phone's user who asks to be signed in, and takes the number that
// stands on the other device. prove asks for a second factor where the session has none
// of its own, after which this is called again; fresh runs what takes a fresh proof; done leaves.
export async function approve(request, { prove, fresh, done }) {
  // A request that is over, answered or nobody's is left, and the server says why.
  const ask = async (what, more) => {
    try {
      return await call("POST", `/v1/auth:${what}`, { request, ...more });
    } catch (error) {
      if (error.reason?.startsWith("QR_") && error.reason !== "QR_FACTOR_NEEDED") await done();
      throw error;
    }
  };
  const pick = (number) => fresh(async () => {
    try {
      await ask("approveQrSignIn", { number });
    } catch (error) {
      if (error.reason !== "QR_FACTOR_NEEDED") throw error;
      await prove();
      say(sentence(error.message));
      return;
    }
    await done();
    say("The other device is signed in as you.");
  });
  deny = async () => {
    await ask("denyQrSignIn");
    await done();
    say("The other device was refused. If you did not begin this, somebody wants into your account.");
  };

  const { network, browser, numbers, sameNetwork } = await ask("getQrRequest");
  element("approve-network").textContent = network || "unknown";
  element("approve-browser").textContent = browser || "unknown";
  element("approve-far").hidden = Boolean(sameNetwork);
  element("approve-numbers").replaceChildren(...numbers.map((number) => button(String(number), () => pick(number))));
  show("approve");
}

on(element("approve-deny"), "click", () => deny());
