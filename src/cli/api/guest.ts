/**
 * holdfast guest build|list: first images, without the internet. A guest is built from Debian packages on the server's host, put
 * into the home's import folder, and offered as a platform image of a region; the alias document then knows it by one word, so
 * that `az vm create --image Micro` works.
 *
 * A run that dies leaves at most a copy in the import folder, which the next one replaces.
 */
import { constants } from 'node:fs'
import { chown, copyFile, mkdir, rm, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Argument, Command, Option } from 'commander'
import { checkCommand, systemClock, usualHome } from '#runtime'
import { textTable } from '../text-table.ts'
import { type ApiContext, follow, makeApiCommand, runApiCommand, type Shown, type WaitOptions } from './api-command.ts'
import { offeredImages } from './image-words.ts'
import { textCell } from './words.ts'

const SCRIPTS = resolve(import.meta.dirname, '../../../guest')
const BUILD_MS_MAX = 1_800_000
const KINDS = {
  micro: { alias: 'Micro', offer: 'micro', script: 'build-micro' },
  debian: { alias: 'Debian', offer: 'debian', script: 'build-debian' },
} as const
type KindName = keyof typeof KINDS

type BuildOptions = WaitOptions & Readonly<{ location?: string; size?: string; generation: 'V1' | 'V2' }>

export function guestCommand(): Command {
  return new Command('guest')
    .summary('first images, built from Debian packages')
    .description(
      'Builds small guests on this host and offers them as platform images, without the internet’s galleries.',
    )
    .addHelpText('after', '\nExamples:\n  holdfast guest build micro\n  az vm create -g web -n vm1 --image Micro')
    .addCommand(buildCommand())
    .addCommand(listCommand())
}

/** Three numbers that grow with time: 2026.1122.1347. */
function versionNow(nowMs: number): string {
  const [date = '', time = ''] = new globalThis.Date(nowMs).toISOString().split('T')
  const [year, month, day] = date.split('-').map(Number)
  const [hour, minute, second] = time.split(':').map((part) => Number.parseInt(part, 10))
  return `${year}.${(month ?? 0) * 100 + (day ?? 0)}.${(hour ?? 0) * 10_000 + (minute ?? 0) * 100 + (second ?? 0)}`
}

async function regionOf(context: ApiContext, given: string | undefined): Promise<string> {
  const known = given ?? context.defaults.location
  if (known !== undefined) return known.toLowerCase().replaceAll(' ', '')
  const path = `/subscriptions/${await context.client.subscription()}/locations`
  const [first] = await context.client.list<{ name: string }>(path)
  return first?.name ?? ''
}

async function built(kind: KindName, options: BuildOptions, signal: AbortSignal): Promise<string> {
  const args = [
    ...(options.size === undefined ? [] : ['--size', options.size]),
    ...(options.generation === 'V2' ? ['--uefi'] : []),
  ]
  const { stdout } = await checkCommand(join(SCRIPTS, KINDS[kind].script), args, { timeoutMs: BUILD_MS_MAX, signal })
  return stdout.toString('utf8').trim().split('\n').at(-1) ?? ''
}

function platformPath(subscription: string, region: string, kind: KindName, sku: string, version: string): string {
  const place = `/subscriptions/${subscription}/providers/Microsoft.Compute/locations/${region}/publishers/Holdfast`
  return `${place}/artifacttypes/vmimage/offers/${KINDS[kind].offer}/skus/${sku}/versions/${version}`
}

/** A copy that the server's user may read, also where root builds for another user's server. */
async function intoImports(home: string, image: string, kind: KindName): Promise<string> {
  const folder = join(home, 'import')
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const file = join(folder, `guest-${kind}.raw`)
  await rm(file, { force: true })
  await copyFile(image, file, constants.COPYFILE_FICLONE)
  const { uid, gid } = await stat(home)
  if (process.getuid?.() === 0 && uid !== 0) for (const path of [folder, file]) await chown(path, uid, gid)
  return file
}

async function build(context: ApiContext, kind: KindName, options: BuildOptions): Promise<Shown> {
  const { client, output, signal } = context
  const region = await regionOf(context, options.location)
  output.progress({ task: `Building the ${kind} guest`, doneBytes: 0, totalBytes: 0 })
  const image = await built(kind, options, signal)
  const home = resolve(options.home ?? usualHome(process.env, process.getuid?.() === 0))
  const file = await intoImports(home, image, kind)
  try {
    const sku = options.generation === 'V2' ? 'gen2' : 'gen1'
    const version = versionNow(systemClock.nowMs())
    const path = platformPath(await client.subscription(), region, kind, sku, version)
    const alias = options.generation === 'V2' ? `${KINDS[kind].alias}Gen2` : KINDS[kind].alias
    const properties = {
      sourceUri: pathToFileURL(file).href,
      osType: 'Linux',
      hyperVGeneration: options.generation,
      alias,
    }
    const answer = await client.ask('PUT', path, { properties })
    await follow(context, answer, `Making the image ${alias}`)
    const urn = `Holdfast:${KINDS[kind].offer}:${sku}:${version}`
    const value = { alias, urn, location: region, id: path }
    return { value, table: () => `The image ${alias} is offered in ${region} (${urn}).` }
  } finally {
    await rm(file, { force: true })
  }
}

function buildCommand(): Command {
  const command = makeApiCommand({
    usage: 'build',
    summary: 'build a guest and offer it as a platform image',
    description:
      'Builds the guest from packages of this host’s Debian mirror (micro: some seconds; debian: some minutes, needs root and mmdebstrap) and ' +
      'offers it in a region. Run it on the server’s host, as who may write to its home. Built guests are kept in the cache folder.',
    examples: ['holdfast guest build micro', 'holdfast guest build debian -l eastus --size 4096'],
  })
    .addArgument(new Argument('<kind>', 'which guest').choices(['micro', 'debian']))
    .option('-l, --location <region>', 'the region that offers it (default: the usual one, else the first)')
    .option('--size <mib>', 'of its disk, in MiB')
    .addOption(
      new Option('--generation <generation>', 'V2 boots by UEFI (micro only)').choices(['V1', 'V2']).default('V1'),
    )
  return command.action((kind: KindName, options: BuildOptions) =>
    runApiCommand(options, (context) => build(context, kind, options)),
  )
}

function listCommand(): Command {
  const command = makeApiCommand({
    usage: 'list',
    summary: 'platform images that are offered, by their words',
    examples: ['holdfast guest list', 'holdfast guest list -o json'],
  })
  return command.action((options: WaitOptions) =>
    runApiCommand(options, async (context) => {
      const all = await offeredImages(context)
      const rows = all.map((one) => [one.alias, one.system, one.publisher, one.offer, one.sku].map(textCell))
      return {
        value: all,
        table: () =>
          all.length === 0
            ? 'No platform image is offered: "holdfast guest build micro" makes one.'
            : textTable(['ALIAS', 'SYSTEM', 'PUBLISHER', 'OFFER', 'SKU'], rows),
      }
    }),
  )
}
