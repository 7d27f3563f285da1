/**
 * npm run bench -- [--quick] [--data FOLDER] [--rounds N] [--tools a,b] [--guests] [--results FOLDER]
 *
 * Holdfast, restic, borg and qemu-img side by side on the same disk image, with the machine's own limit. In every round
 * each tool starts with an empty repository; rounds begin with another tool each, so that none always runs first.
 *   --quick     1 GiB of files and one round: to see that it works, not to publish
 *   --data      keeps the images (about 8 GiB) for the next run; otherwise they are made in, and removed from, a temporary folder
 *   --guests    also what bench/guest.ts measures
 *   --results   where the report goes (default bench/results; with --quick only to the screen)
 * Wants a machine with nothing else to do, GNU time, restic, borg, qemu-img, e2fsprogs, fio and libnbd-bin.
 */
import { link, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { formatBytes, GIB, messageOf, MIB, TIB } from '#base'
import { checkCommand } from '#runtime'
import { type BenchData, type DataSize, makeData, warm } from './data.ts'
import { GUEST_MEASURES, type GuestResults, measureGuests } from './guest/measure-guests.ts'
import { describeMachine } from './machine.ts'
import { measure } from './measure.ts'
import { toMarkdown, writeReport } from './report.ts'
import { mediansOf, type Results, type Sample } from './results.ts'
import { measureServe, type ServeResult } from './serve.ts'
import { borgTool } from './tools/borg.ts'
import { holdfastTool } from './tools/holdfast.ts'
import { limitTool } from './tools/limit.ts'
import { qemuImgTool } from './tools/qemu-img.ts'
import { resticTool } from './tools/restic.ts'
import { type Place, type Step, STEPS, type Tool } from './tools/tool.ts'

const TOOLS: readonly Tool[] = [holdfastTool, resticTool, borgTool, qemuImgTool, limitTool]
const FULL_SIZE: DataSize = { virtualBytes: 16 * GIB, fileBytes: 3 * GIB, hugeBytes: TIB }
const QUICK_SIZE: DataSize = { virtualBytes: 16 * GIB, fileBytes: GIB, hugeBytes: TIB }

const say = (text: string): void => void process.stderr.write(`${text}\n`)

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    data: { type: 'string' },
    rounds: { type: 'string' },
    tools: { type: 'string' },
    guests: { type: 'boolean', default: false },
    results: { type: 'string' },
  },
})

await main()

async function main(): Promise<void> {
  const folder = options.data === undefined ? await mkdtemp(join(tmpdir(), 'holdfast-bench-')) : resolve(options.data)
  try {
    const data = await makeData(join(folder, 'images'), options.quick ? QUICK_SIZE : FULL_SIZE, say)
    const results = await runAll(join(folder, 'work'), data)
    process.stdout.write(toMarkdown(results))
    if (options.quick && options.results === undefined) return
    say(
      `Written to ${await writeReport(options.results ?? join(import.meta.dirname, 'results'), results)}.md and .json`,
    )
  } finally {
    await rm(options.data === undefined ? folder : join(folder, 'work'), { recursive: true, force: true })
  }
}

async function runAll(folder: string, data: BenchData): Promise<Results> {
  await mkdir(folder, { recursive: true })
  const rounds = Number(options.rounds ?? (options.quick ? 1 : 3))
  const machine = await describeMachine(folder)
  const { tools, versions } = await presentTools()
  const samples: Sample[] = []
  let serve: ServeResult | undefined
  for (let round = 0; round < rounds; round += 1) {
    for (let i = 0; i < tools.length; i += 1) {
      const tool = tools[(i + round) % tools.length]
      if (tool === undefined) continue
      const place = await freshPlace(folder, data)
      await attempt(tool.name, () => runTool(tool, place, data, round, (sample) => samples.push(sample)))
      if (tool !== holdfastTool || round !== rounds - 1) continue
      await attempt('serve', async () => (serve = await measureServe(await emptied(place), data)))
    }
  }
  let guests: GuestResults | undefined
  if (options.guests) await attempt('guests', async () => (guests = await measureGuests(GUEST_MEASURES, rounds, say)))
  const { baseImage: _base, changedImage: _changed, hugeImage: _huge, ...sizes } = data
  const date = new Date().toISOString()
  const medians = inOrder(mediansOf(samples), tools)
  return { date, machine, versions, data: sizes, rounds, samples, medians, serve, guests }
}

/** One tool's failure is told, fails the run, and leaves the others their figures. */
async function attempt(what: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work()
  } catch (error) {
    process.exitCode = 1
    say(`${what} FAILED: ${messageOf(error)}`)
  }
}

async function presentTools(): Promise<{ tools: Tool[]; versions: Record<string, string> }> {
  const wanted = options.tools?.split(',') ?? TOOLS.map((tool) => tool.name)
  const tools: Tool[] = []
  const versions: Record<string, string> = {}
  for (const tool of TOOLS.filter(({ name }) => wanted.includes(name))) {
    const version = await tool.version()
    if (version === undefined) say(`${tool.name} is not here and is left out`)
    else tools.push(tool)
    if (version !== undefined) versions[tool.name] = version
  }
  return { tools, versions }
}

function inOrder(medians: Results['medians'], tools: readonly Tool[]): Results['medians'] {
  return Object.fromEntries(tools.map(({ name }) => [name, medians[name] ?? {}]))
}

async function freshPlace(folder: string, data: BenchData): Promise<Place> {
  const place = {
    repository: join(folder, 'repository'),
    target: join(folder, 'target'),
    image: join(folder, 'disk.img'),
  }
  await rm(place.repository, { recursive: true, force: true })
  await mkdir(place.repository)
  return emptied({ ...place, hugeImage: data.hugeImage })
}

async function emptied(place: Place): Promise<Place> {
  await rm(place.target, { recursive: true, force: true })
  await mkdir(place.target)
  return place
}

/** Lays `image` where the tools find the disk, warm. */
async function insert(place: Place, image: string): Promise<void> {
  await rm(place.image, { force: true })
  await link(image, place.image)
  await warm(image)
}

async function runTool(
  tool: Tool,
  place: Place,
  data: BenchData,
  round: number,
  take: (sample: Sample) => void,
): Promise<void> {
  await insert(place, data.baseImage)
  await tool.prepare(place)
  let inserted = data.baseImage
  for (const step of STEPS) {
    if (tool.commands(place)[step] === undefined) continue
    if (step === 'scan') await insert(place, (inserted = data.changedImage))
    if (step === 'full-huge') await warm(place.hugeImage)
    take(await runStep(tool, step, place, round))
    if (step === 'restore-raw' && round === 0) await compare(tool, inserted, tool.restored(place))
  }
}

async function runStep(tool: Tool, step: Step, place: Place, round: number): Promise<Sample> {
  await emptied(place)
  await checkCommand('sync', [], { timeoutMs: 10 * 60_000 }) // what others wrote is not on this step's account
  const command = tool.commands(place)[step]
  if (command === undefined) throw new Error(`${tool.name} has no step ${step}`)
  const { stdout: _stdout, ...measured } = await measure(command)
  const storedBytes = tool === limitTool ? 0 : await storedBytesOf(place.repository)
  const { seconds, cpuSeconds, rssPeakBytes } = measured
  say(
    `round ${round + 1} ${tool.name} ${step}: ${seconds.toFixed(2)} s, ${cpuSeconds.toFixed(1)} s CPU, ` +
      `${formatBytes(rssPeakBytes)}, stored ${formatBytes(storedBytes)}`,
  )
  return { tool: tool.name, step, round, storedBytes, ...measured }
}

async function storedBytesOf(folder: string): Promise<number> {
  const { stdout } = await checkCommand('du', ['-sk', folder])
  return Number(stdout.toString('utf8').split('\t')[0]) * 1024
}

async function compare(tool: Tool, image: string, restored: string): Promise<void> {
  const args = ['compare', '-f', 'raw', '-F', 'raw', image, restored]
  await checkCommand('qemu-img', args, { timeoutMs: 10 * 60_000, outputBytesMax: MIB }).catch((cause: unknown) => {
    throw new Error(`What ${tool.name} restored is not what was backed up.`, { cause })
  })
}
