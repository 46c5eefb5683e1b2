// What asks the operator before something is done: is it meant, and who is it?
"use strict";

/** Ask before something is changed, then do it; the dialog stays until it is done, and says why if it could not be. */
function confirmed(title, text, verb, act) {
  const dialog = byId("confirm"),
    yes = byId("confirm-yes"),
    no = byId("confirm-no");
  say(byId("confirm-title"), title);
  say(byId("confirm-text"), text);
  say(byId("confirm-error"), "");
  say(yes, verb);
  const waiting = is => {
    for (const button of [yes, no]) button.disabled = is;
    dialog.setAttribute("aria-busy", is);
    // Escape while something is under way would hide its result.
    dialog.closedBy = is ? "none" : "closerequest";
    say(yes, is ? "Waiting…" : verb);
  };
  waiting(false);
  yes.onclick = async () => {
    waiting(true);
    say(byId("confirm-error"), "");
    try {
      await act();
      dialog.close();
    } catch (error) {
      say(byId("confirm-error"), error.message);
      // Browsers that do not know closedBy have let it be closed.
      if (!dialog.open) dialog.showModal();
    }
    waiting(false);
    if (dialog.open) no.focus();
    poller.now();
  };
  dialog.showModal();
}

function logIn() {
  const dialog = byId("login"),
    field = byId("token");
  if (dialog.open) return;
  say(byId("login-error"), storage.get("sessionStorage", TOKEN) ? "This token was not accepted." : "");
  field.value = "";
  byId("confirm").close();
  // Without a token there is nothing to see: should it be closed without one, the next answer opens it again.
  dialog.onclose = () => {
    storage.set("sessionStorage", TOKEN, field.value);
    field.value = "";
    poller.now();
  };
  dialog.showModal();
}
