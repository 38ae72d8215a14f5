/** Small components shared by the sections. */
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { words } from "../api";
import { ago, exact, type Moment, time } from "../format";

export type Tone = "good" | "warn" | "bad" | "busy" | "off" | "";

/** The state of a thing, in a word; the colour only repeats it. */
export function State({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return <span class={`state ${tone}`}>{children}</span>;
}

export function toneOf(state: string): Tone {
  if (state === "ready") return "good";
  if (state === "starting" || state === "resting" || state === "backoff") return "warn";
  if (state === "disabled" || state === "stopped") return "off";
  return "bad";
}

export function Head({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <header class="section-head">
      <h1>{title}</h1>
      <span class="spring" />
      {children}
    </header>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <strong>{title}</strong>
      {children}
    </div>
  );
}

export function When({ at, relative = false }: { at: Moment; relative?: boolean }) {
  return <time title={exact(at)}>{relative ? ago(at) : time(at)}</time>;
}

export function Failure({ error }: { error: unknown }) {
  return error ? (
    <p class="bad-text" role="alert">
      {words(error)}
    </p>
  ) : null;
}

interface ChoiceProps<T extends string> {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
}

/** A choice among a few visible options. */
export function Segments<T extends string>({ label, value, options, onChange }: ChoiceProps<T>) {
  return (
    <fieldset class="segments" style={{ margin: 0, padding: 0 }}>
      <legend class="unseen">{label}</legend>
      {options.map(([key, text]) => (
        <label key={key}>
          <input type="radio" name={label} value={key} checked={key === value} onChange={() => onChange(key)} />
          {text}
        </label>
      ))}
    </fieldset>
  );
}

export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await copyText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return (
    <button type="button" class="button small" onClick={copy}>
      {done ? "Copied" : label}
    </button>
  );
}

async function copyText(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Browsers allow the clipboard only for https and localhost; a proxy at home usually has neither.
    const area = document.createElement("textarea");
    area.value = text;
    area.style.position = "fixed";
    area.style.opacity = "0";
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

export function Code({ text, copy = true, label }: { text: string; copy?: boolean; label?: string }) {
  return (
    <div class="with-copy">
      {/* Scrolls, so a keyboard has to reach it. */}
      <pre class="code" tabIndex={0} role="region" aria-label={label ?? "Text"}>
        {text}
      </pre>
      {copy ? <CopyButton text={text} /> : null}
    </div>
  );
}

interface DialogProps {
  title: string;
  wide?: boolean;
  onClose: () => void;
  children: ComponentChildren;
}

export function Dialog({ title, wide = false, onClose, children }: DialogProps) {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    box.current?.showModal();
  }, []);
  return (
    <dialog ref={box} class={wide ? "wide" : ""} aria-label={title} onClose={onClose}>
      <div class="dialog-head">
        <h2>{title}</h2>
        <button type="button" class="button small" onClick={() => box.current?.close()}>
          Close
        </button>
      </div>
      <div class="dialog-body">{children}</div>
    </dialog>
  );
}

interface Toast {
  id: number;
  text: string;
  bad: boolean;
}

const toasts = signal<readonly Toast[]>([]);
let lastToast = 0;

/** Say briefly that something was done, or was not. */
export function tell(text: string, bad = false): void {
  const id = ++lastToast;
  toasts.value = [...toasts.value, { id, text, bad }];
  setTimeout(
    () => {
      toasts.value = toasts.value.filter((toast) => toast.id !== id);
    },
    bad ? 9000 : 4500,
  );
}

export function tellError(error: unknown): void {
  tell(words(error), true);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((toast) => (
        <div key={toast.id} class={`toast${toast.bad ? " bad" : ""}`}>
          {toast.text}
        </div>
      ))}
    </div>
  );
}
