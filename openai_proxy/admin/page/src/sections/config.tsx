/** The configuration: files, an editor with completion and validation, a diff before saving, undo. */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError, get, send } from "../api";
import type { Editor } from "../editor/editor";
import { status } from "../live";
import { go, link, place } from "../router";
import { isDark } from "../theme";
import type { Problem } from "../types";
import { useGet } from "../ui/load";
import { Dialog, Empty, Failure, Head, State, tell, tellError } from "../ui/parts";

interface Listing {
  files: { path: string; kind: string; writable: boolean }[];
  problems: (Problem & { path: string | null })[];
  saves: { id: number; path: string; at: string; what: string }[];
}

interface FileText {
  path: string;
  kind: string;
  text: string;
  digest: string | null;
}

const FRESH: Record<string, string> = {
  models: "name: augmented/new\nupstream_model: \nsystem_prompt: |\n  You are a helpful assistant.\n",
  "mcp/servers.yaml": "servers:\n",
  "tools yaml": "name: new_tool\ndescription: \nparameters:\n  type: object\n  properties: {}\nhttp:\n  method: GET\n  url: \n",
};

export function Configuration() {
  const listing = useGet<Listing>("admin/config");
  const [saving, setSaving] = useState(0);
  const generation = status.value?.config.generation;
  useEffect(() => listing.again(), [generation, saving]);
  const open = place.value.item || "proxy.yaml";
  const create = () => {
    const name = prompt("Path of the new file, such as models/kitchen.yaml, skills/manners.md, tools/weather.yaml or tools/dice.py", "models/");
    if (name) go("config", name, { new: "1" });
  };
  const undo = async (id: number) => {
    try {
      const found = await send<{ path: string }>("POST", "admin/config/undo", { id });
      tell(`${found.path} is as it was before.`);
      setSaving((known) => known + 1);
    } catch (error) {
      tellError(error);
    }
  };
  const [last] = listing.data?.saves ?? [];
  return (
    <>
      <Head title="Configuration">
        {last ? (
          <button type="button" class="button" title={`${last.path}: ${last.what}`} onClick={() => void undo(last.id)}>
            Undo last save ({last.path})
          </button>
        ) : null}
        <button type="button" class="button" onClick={create}>
          New file
        </button>
      </Head>
      <div class="edit">
        <nav aria-label="Files">
          <ul>
            {listing.data?.files.map((file) => (
              <li key={file.path}>
                <a href={link("config", file.path)} aria-current={file.path === open}>
                  {file.path}
                  {listing.data?.problems.some((problem) => problem.path === file.path) ? <span class="bad-text"> (problem)</span> : null}
                </a>
              </li>
            ))}
          </ul>
        </nav>
        <Sheet key={`${open}-${saving}`} path={open} fresh={place.value.query.has("new")} line={Number(place.value.query.get("line") ?? 0)} onSaved={() => setSaving((known) => known + 1)} />
      </div>
    </>
  );
}

function Sheet({ path, fresh, line, onSaved }: { path: string; fresh: boolean; line: number; onSaved: () => void }) {
  const [file, setFile] = useState<FileText | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [text, setText] = useState("");
  const [problems, setProblems] = useState<(Problem & { path: string | null })[]>([]);
  const [diff, setDiff] = useState<{ before: string; conflict: boolean } | null>(null);
  const host = useRef<HTMLDivElement>(null);
  const editor = useRef<Editor | null>(null);
  // The typed text outlives the editor, which is recreated for other colours and for another base.
  const typed = useRef<string | null>(null);

  useEffect(() => {
    get<FileText>(`admin/config/files/${encodePath(path)}`).then(setFile, (failure: unknown) => {
      if (failure instanceof ApiError && failure.status === 404) {
        const folder = path.split("/")[0] ?? "";
        const text = FRESH[path] ?? FRESH[folder === "tools" && /\.ya?ml$/.test(path) ? "tools yaml" : folder] ?? "";
        setFile({ path, kind: "", text: fresh ? text : "", digest: null });
      } else setError(failure);
    });
  }, [path]);

  const check = useCallback(
    async (now: string) => {
      const found = await send<{ problems: (Problem & { path: string | null })[] }>("POST", "admin/config/check", { path, text: now });
      setProblems(found.problems);
      return found.problems.filter((problem) => problem.path === path);
    },
    [path],
  );

  useEffect(() => {
    const element = host.current;
    if (file === null || element === null) return undefined;
    const text = typed.current ?? file.text;
    const onChange = (now: string) => {
      typed.current = now;
      setText(now);
    };
    setText(text);
    let gone = false;
    void import("../editor/editor").then(({ openEditor }) => {
      if (gone) return;
      editor.current = openEditor(element, { path, text, dark: isDark.value, line, check, onChange, onSave: () => setDiff({ before: file.text, conflict: false }) });
    });
    return () => {
      gone = true;
      editor.current?.close();
      editor.current = null;
    };
  }, [file, isDark.value]);

  const save = async () => {
    if (file === null) return;
    try {
      await send("PUT", `admin/config/files/${encodePath(path)}`, { text, digest: file.digest });
      tell(`${path} is saved and in effect.`);
      setDiff(null);
      onSaved();
    } catch (failure) {
      if (failure instanceof ApiError && failure.code === "edit_conflict" && "digest" in failure.body) {
        const now = failure.body as { text: string | null; digest: string | null };
        setFile({ ...file, text: now.text ?? "", digest: now.digest });
        setDiff({ before: now.text ?? "", conflict: true });
      } else {
        setDiff(null);
        if (failure instanceof ApiError && Array.isArray(failure.body.problems)) setProblems(failure.body.problems as (Problem & { path: string | null })[]);
        tellError(failure);
      }
    }
  };
  const remove = async () => {
    if (file === null || !confirm(`Delete ${path}?`)) return;
    try {
      await send("DELETE", `admin/config/files/${encodePath(path)}`, { digest: file.digest });
      tell(`${path} is deleted; Undo brings it back.`);
      go("config");
      onSaved();
    } catch (failure) {
      tellError(failure);
    }
  };
  if (error !== null)
    return (
      <div class="sheet-of" style={{ padding: "1rem" }}>
        <Failure error={error} />
      </div>
    );
  if (file === null) return <div class="sheet-of" aria-busy="true" />;
  const changed = text !== file.text;
  return (
    <div class="sheet-of">
      <div class="tools">
        <h2>{path}</h2>
        {problems.length > 0 ? <State tone="bad">{problems.length === 1 ? "1 problem" : `${problems.length} problems`}</State> : <State tone="good">no problem</State>}
        <span class="spring" />
        {file.digest === null ? null : (
          <button type="button" class="button small risky" onClick={remove}>
            Delete
          </button>
        )}
        <button type="button" class="button small" disabled={!changed} onClick={() => editor.current?.replace(file.text)}>
          Discard
        </button>
        <button type="button" class="button small main" disabled={!changed && file.digest !== null} onClick={() => setDiff({ before: file.text, conflict: false })}>
          Save
        </button>
      </div>
      <div ref={host} class="editor" />
      {problems.length > 0 ? (
        <ul class="problems" aria-label="Problems">
          {problems.map((problem) => (
            <li key={`${problem.file}-${problem.line}-${problem.message}`}>
              <button type="button" class="plain" onClick={() => (problem.path === path ? editor.current?.show(problem.line) : problem.path && go("config", problem.path, { line: String(problem.line) }))}>
                {problem.path === path ? "" : `${problem.path ?? problem.file}, `}line {problem.line}
              </button>
              : {problem.message}
            </li>
          ))}
        </ul>
      ) : null}
      {diff === null ? null : (
        <Dialog title={diff.conflict ? "The file has changed meanwhile" : `Save ${path}?`} wide onClose={() => setDiff(null)}>
          {diff.conflict ? <p class="warn-text">The left side is the file as it is now, the right side is your text. Saving replaces the file.</p> : null}
          <Difference before={diff.before} after={text} path={path} />
          <div class="actions end">
            <button type="button" class="button" onClick={() => setDiff(null)}>
              Go on editing
            </button>
            <button type="button" class="button main" onClick={save}>
              {diff.conflict ? "Replace it" : "Save and apply"}
            </button>
          </div>
        </Dialog>
      )}
    </div>
  );
}

function Difference({ before, after, path }: { before: string; after: string; path: string }) {
  const host = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = host.current;
    if (element === null) return undefined;
    let close = () => {};
    let gone = false;
    void import("../editor/editor").then(({ openDifference }) => {
      if (!gone) close = openDifference(element, { before, after, path, dark: isDark.value });
    });
    return () => {
      gone = true;
      close();
    };
  }, [before, after]);
  if (before === after) return <Empty title="There is no difference." />;
  return <div ref={host} class="editor" style={{ maxHeight: "60vh" }} role="group" aria-label="Difference" />;
}

function encodePath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}
