/** Shows results: a page of Markdown for people, JSON for whoever compares runs. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { formatBytes } from '#base'
import { judge, verdictTable } from './goals.ts'
import { hostClass } from './machine.ts'
import type { Figures, Results } from './results.ts'
import { type Step, STEPS } from './tools/tool.ts'

const TITLES: Readonly<Record<Step, string>> = {
  full: 'full backup',
  scan: 'again, 64 MiB changed, no bitmap',
  'restore-raw': 'restore to raw',
  'restore-qcow2': 'restore to qcow2',
  verify: 'verify all data',
  'verify-keyless': 'verify without the key',
  'full-huge': 'full backup, 1 TiB disk',
}

export function toMarkdown(results: Results): string {
  const { machine, data, versions } = results
  const tools = Object.keys(results.medians)
  return `# Benchmark of ${results.date}

${machine.cores} cores (${machine.cpu}), ${machine.memoryGib} GiB of memory, ${machine.system}, Linux ${machine.kernel}${
    machine.hypervisor ? ', in a virtual machine' : ''
  }; load at the start ${machine.loadAtStart}.
${Object.entries(versions)
  .map(([tool, version]) => `${tool} ${version}`)
  .join(', ')}.

A raw image of ${formatBytes(data.virtualBytes)} with ${formatBytes(data.allocatedBytes)} allocated: ext4 with ${
    data.files
  } files of such a machine. ${results.rounds === 1 ? 'One round' : `Medians of ${results.rounds} rounds, tools alternating`}; cache warm; fsync of all output counted.

## Seconds

${table(tools, results, (figures) => figures.seconds.toFixed(1))}

## CPU seconds

${table(tools, results, (figures) => figures.cpuSeconds.toFixed(1))}

## Largest resident memory

${table(tools, results, (figures) => formatBytes(figures.rssPeakBytes))}

## Stored after the step

${table(tools, results, (figures) => (figures.storedBytes === 0 ? '-' : formatBytes(figures.storedBytes)))}

## Held against the goals

${verdictTable(judge(results))}

${results.guests === undefined ? 'What needs machines (incremental with a bitmap, pause, latency, instant boot): `--guests`, or bench/guest.ts.' : ''}
`
}

function table(tools: readonly string[], results: Results, show: (figures: Figures) => string): string {
  const steps = STEPS.filter((step) => tools.some((tool) => results.medians[tool]?.[step] !== undefined))
  const cell = (tool: string, step: Step): string => {
    const figures = results.medians[tool]?.[step]
    return figures === undefined ? '-' : show(figures)
  }
  const rows = steps.map((step) => `| ${TITLES[step]} | ${tools.map((tool) => cell(tool, step)).join(' | ')} |`)
  return [`| | ${tools.join(' | ')} |`, `|---|${tools.map(() => '---:').join('|')}|`, ...rows].join('\n')
}

/** Writes `<date>-<host class>.json` and `.md`; gives the path without its ending. */
export async function writeReport(folder: string, results: Results): Promise<string> {
  await mkdir(folder, { recursive: true })
  const path = join(folder, `${results.date.slice(0, 10)}-${hostClass(results.machine)}`)
  await writeFile(`${path}.json`, `${JSON.stringify(results, null, 2)}\n`)
  await writeFile(`${path}.md`, toMarkdown(results))
  return path
}
