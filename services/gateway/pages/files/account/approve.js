import { button, call, element, on, say, show } from "/account/client.js";

let deny;

// approve shows the phone's user who asks to be signed in, and takes the number that
// stands on the other device. fresh runs what takes a fresh proof; done leaves.
export async function approve(request, { fresh, done }) {
  // A request that is over, answered or nobody's is left, and the server says why.
  const ask = async (what, more) => {
    try {
      return await call("POST", `/v1/auth:${what}`, { request, ...more });
    } catch (error) {
      if (error.reason?.startsWith("QR_")) await done();
      throw error;
    }
  };
  const pick = (number) => fresh(async () => {
    await ask("approveQrSignIn", { number });
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
