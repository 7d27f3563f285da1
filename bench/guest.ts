/**
 * script/node bench/guest.ts [--only a,b] [--rounds N] [--results FOLDER]
 *
 * What needs machines: an incremental by bitmap on 1 TiB, the guest's pause and freeze at the instant, the latency of its
 * durable writes while it is backed up, and instant boot against a local one. Kinds alternate; medians.
 *   --only      of: incremental, pause, latency, boot
 *   --rounds    3 by default
 *   --results   where the report goes (default bench/results)
 * Wants a machine with nothing else to do, QEMU, fio, e2fsprogs, and what guest/build-micro needs. Without KVM the guests are
 * emulated and compete with Holdfast for the same cores: latency and freeze are then those of a host that is full.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { enableCompileCache } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { checkCommand } from '#runtime'
import { verdictTable } from './goals.ts'
import { judgeGuests } from './guest-goals.ts'
import { GUEST_MEASURES, type GuestResults, measureGuests } from './guest/measure-guests.ts'
import { describeMachine, hostClass, type Machine } from './machine.ts'

const say = (text: string): void => void process.stderr.write(`${text}\n`)

const { values: options } = parseArgs({
  options: { only: { type: 'string' }, rounds: { type: 'string' }, results: { type: 'string' } },
})

// As the command line does, so that threads start as fast here.
enableCompileCache(join(tmpdir(), 'holdfast-bench-compiled'))
await main()

async function main(): Promise<void> {
  const machine = await describeMachine(tmpdir())
  const qemu = (await checkCommand('qemu-system-x86_64', ['--version'])).stdout.toString('utf8').split('\n')[0] ?? ''
  const only = options.only?.split(',')
  const wanted = GUEST_MEASURES.filter((measure) => only?.includes(measure) ?? true)
  const date = new Date().toISOString()
  const guests = await measureGuests(wanted, Number(options.rounds ?? 3), say)
  const page = toMarkdown(date, machine, qemu, guests)
  process.stdout.write(page)
  const folder = options.results ?? join(import.meta.dirname, 'results')
  await mkdir(folder, { recursive: true })
  const path = join(folder, `${date.slice(0, 10)}-${hostClass(machine)}-guest`)
  await writeFile(`${path}.json`, `${JSON.stringify({ date, machine, qemu, ...guests }, null, 2)}\n`)
  await writeFile(`${path}.md`, page)
  say(`Written to ${path}.md and .json`)
}

function toMarkdown(date: string, machine: Machine, qemu: string, guests: GuestResults): string {
  return `# Benchmark with guests of ${date}

${machine.cores} cores (${machine.cpu}), ${machine.memoryGib} GiB of memory, ${machine.system}, Linux ${machine.kernel}${
    machine.hypervisor ? ', in a virtual machine' : ''
  }; load at the start ${machine.loadAtStart}. ${qemu}. Medians of ${guests.rounds} rounds (pauses: five times as many), kinds alternating.

${verdictTable(judgeGuests(guests.medians))}

## Medians

\`\`\`json
${JSON.stringify(guests.medians, null, 2)}
\`\`\`
`
}
