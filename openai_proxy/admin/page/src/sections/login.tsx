/** The sign-in form, and nothing else. */
import { useEffect, useState } from "preact/hooks";
import { get, send, signedIn } from "../api";
import { Code, Failure } from "../ui/parts";

export function Login() {
  const [key, setKey] = useState("");
  const [error, setError] = useState<unknown>(null);
  const [keys, setKeys] = useState(true);
  const used = new URLSearchParams(location.search).get("login");
  useEffect(() => {
    document.title = "Sign in · openai_proxy";
    get<{ admin_keys?: boolean }>("admin/session").then(
      (found) => setKeys(found.admin_keys !== false),
      () => undefined,
    );
  }, []);
  const submit = async (event: Event) => {
    event.preventDefault();
    setError(null);
    try {
      await send("POST", "admin/session", { key });
      history.replaceState(null, "", `${location.pathname}${location.hash}`);
      signedIn.value = "in";
    } catch (failure) {
      setError(failure);
    }
  };
  return (
    <main class="login">
      <form class="sheet" onSubmit={submit}>
        <h1>openai_proxy</h1>
        {used === null ? null : (
          <p class="warn-text" role="alert">
            This address was used before, or is older than ten minutes.
          </p>
        )}
        <p>On the proxy's machine, this prints an address that signs you in:</p>
        <Code text="openai-proxy ui" label="Command" />
        <div class="field">
          <label for="key">{keys ? "Admin key" : "Code of that address (no admin key is configured)"}</label>
          <input id="key" class="input" type="password" autocomplete="current-password" required value={key} onInput={(event) => setKey(event.currentTarget.value)} />
        </div>
        <Failure error={error} />
        <button class="button main" type="submit">
          Sign in
        </button>
      </form>
    </main>
  );
}
