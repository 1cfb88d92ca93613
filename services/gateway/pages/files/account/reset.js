import { call, element, fragment, on, say, show } from "/account/client.js";
import { onPassword } from "/account/password.js";

const resetToken = fragment();

// The answer is the same whether there is such a user or not, and so is what is said here.
on(element("ask-form"), "submit", async () => {
  await call("POST", "/v1/auth:requestPasswordReset", { username: element("username").value.trim() });
  element("ask-form").reset();
  say("If there is such an account, a mail with a link is on its way. It counts for 30 minutes.");
});

onPassword("choose-form", async (newPassword) => {
  try {
    await call("POST", "/v1/auth:resetPassword", { resetToken, newPassword });
  } catch (error) {
    if (error.reason === "RESET_INVALID") show("ask");
    throw error;
  }
  element("choose-form").reset();
  show("done");
});

show(resetToken ? "choose" : "ask");
