/** Tokens by day; uPlot is loaded only where there is something to draw. */
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { count } from "../format";

/** Draw into `element`; what is returned takes it away again. */
export function draw(element: HTMLElement, rows: [string, number, number][]): () => void {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis: uPlot.Axis = {
    stroke: colour("--ink-soft"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
    font: "12px system-ui",
  };
  const bars = uPlot.paths.bars?.({ size: [0.6, 40] });
  const series = (label: string, name: string): uPlot.Series => ({
    label,
    stroke: colour(name),
    fill: `${colour(name)}55`,
    width: 1,
    points: { show: false },
    value: (_, value) => (value === null ? "–" : count(value)),
    ...(bars ? { paths: bars } : {}),
  });
  const plot = new uPlot(
    {
      width: Math.max(element.clientWidth, 200),
      height: 200,
      cursor: { y: false },
      scales: { y: { range: (_, __, most) => [0, Math.max(most * 1.1, 10)] } },
      series: [{ value: (_, at) => (at === null ? "–" : new Date(at * 1000).toLocaleDateString()) }, series("Tokens in", "--series-1"), series("Tokens out", "--series-2")],
      axes: [axis, { ...axis, size: 56, values: (_, values) => values.map((value) => count(value)) }],
    },
    [rows.map(([day]) => Date.parse(`${day}T12:00:00Z`) / 1000), rows.map((row) => row[1]), rows.map((row) => row[2])],
    element,
  );
  const watch = new ResizeObserver(() => plot.setSize({ width: Math.max(element.clientWidth, 200), height: 200 }));
  watch.observe(element);
  return () => {
    watch.disconnect();
    plot.destroy();
  };
}
