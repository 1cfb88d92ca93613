import { Refusal, call, element, on } from "/account/client.js";

// The token stands behind the # of the link, which browsers send to no server. It
// leaves the address bar, and so the history, at once.
const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname);

on(element("choose-form"), "submit", async () => {
  if (!token) throw new Refusal(0, { message: "The link is not complete. Open it from the mail again." });
  if (element("password").value !== element("again").value) throw new Refusal(0, { message: "The two passwords differ." });
  await call("POST", "/v1/auth:acceptInvitation", { invitationToken: token, password: element("password").value });
  location.replace("/sign-in#enrol");
});
