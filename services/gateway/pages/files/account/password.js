import { Refusal, element, on } from "/account/client.js";

// onPassword takes a new password from a form that asks for it twice. The server
// judges it, and says why one is too weak.
export function onPassword(form, work) {
  const fields = [element("password"), element("again")];
  element("reveal").addEventListener("change", () => {
    for (const field of fields) field.type = element("reveal").checked ? "text" : "password";
  });
  on(element(form), "submit", async () => {
    const [password, again] = fields.map((field) => field.value);
    if (password !== again) throw new Refusal(0, { message: "The two passwords differ." });
    await work(password);
  });
}
