import { Refusal, call, fragment } from "/account/client.js";
import { onPassword } from "/account/password.js";

const invitationToken = fragment();

onPassword("choose-form", async (password) => {
  if (!invitationToken) throw new Refusal(0, { message: "The link is not complete. Open it from the mail again." });
  await call("POST", "/v1/auth:acceptInvitation", { invitationToken, password });
  location.replace("/sign-in#enrol");
});
