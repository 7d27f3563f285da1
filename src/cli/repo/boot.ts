/**
 * holdfast repo boot: a machine that runs from a point in seconds, while its data moves in behind it.
 *
 * Says on stdout when the machine runs, then stays until every disk is the machine's own. If it is killed meanwhile the
 * guest's reads wait for some minutes; the same command takes it up again (engine/transfer/boot).
 */
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { type Command, Option } from 'commander'
import type { QemuHypervisor } from '#engine/hypervisor'
import type { PointRecord } from '#engine/repository'
import { type CommandContext, runCommandHandler } from '../command.ts'
import { makeRepoCommand, type OpenRepository, type RepoOptions, withRepository } from './open.ts'

type BootCommandOptions = RepoOptions &
  Readonly<{ to: string; name?: string; machine?: string; network: 'none' | 'restricted'; runtimeDir?: string }>

export function bootCommand(): Command {
  return makeRepoCommand({
    usage: 'boot <store> <point>',
    summary: 'start a machine from a point at once, and move its data in while it runs',
    description:
      'Starts the machine of a point on overlays in a folder, served from the repository, whatever its size. The guest runs ' +
      'as soon as this says so; the command stays until all data has moved in, and the same command takes up what was cut short.',
    examples: [
      'holdfast repo boot /srv/backup latest --machine web1 --to /images/web1-back',
      'holdfast repo boot /srv/backup 4f1c --to /images/drill --name drill --network none',
    ],
  })
    .requiredOption('-t, --to <folder>', 'folder for the machine and its disks; made if missing')
    .option('-n, --name <name>', 'name of the machine (default: as in the point)')
    .option('--machine <name>', 'look among the points of this machine only')
    .addOption(
      new Option('--network <kind>', "restricted: the machine's cards, on networks of their own that reach nothing")
        .choices(['restricted', 'none'])
        .default('restricted'),
    )
    .option('--runtime-dir <folder>', 'where sockets are made (default: /run/holdfast, or $XDG_RUNTIME_DIR/holdfast)')
    .action((location: string, selector: string, options: BootCommandOptions) =>
      runCommandHandler(options, (context) =>
        withRepository(location, options, context, async (opened) => {
          const point = opened.repository.findPoint(selector, options.machine)
          await boot(opened, point, options, context)
        }),
      ),
    )
}

function runtimeFolder(): string {
  const own = process.env['XDG_RUNTIME_DIR']
  if (process.getuid?.() === 0) return '/run/holdfast'
  return join(own === undefined || own === '' ? join(homedir(), '.cache') : own, 'holdfast')
}

async function openHypervisor(folder: string, runtime: string): Promise<QemuHypervisor> {
  const { InstantBroker, QemuHypervisor } = await import('#engine/hypervisor')
  const { makeFolderDurable, systemClock, systemRandom } = await import('#runtime')
  for (const made of [folder, runtime]) await makeFolderDurable(made)
  const host = {
    clock: systemClock,
    random: systemRandom,
    journalFolder: join(folder, 'instants'),
    scratchFolder: join(folder, 'scratch'),
    runFolder: runtime,
    watchdog: 'start' as const,
  }
  return new QemuHypervisor({
    roots: { machinesFolder: join(folder, 'machines'), runtimeFolder: runtime },
    clock: systemClock,
    random: systemRandom,
    instants: new InstantBroker({ host }),
  })
}

async function boot(
  opened: OpenRepository,
  point: PointRecord,
  options: BootCommandOptions,
  context: CommandContext,
): Promise<void> {
  const { bootPoint, restrictedNetworks } = await import('#engine/transfer')
  const { systemClock } = await import('#runtime')
  const startedMs = systemClock.monotonicMs()
  const folder = resolve(options.to)
  const runtime = resolve(options.runtimeDir ?? runtimeFolder())
  const machine = options.name ?? point.machine
  const networks = options.network === 'none' ? [] : restrictedNetworks(point)
  const running = await bootPoint(
    opened.repository,
    point,
    { machine, folder, runtimeFolder: runtime, networks },
    {
      store: opened.descriptor,
      hypervisor: await openHypervisor(folder, runtime),
      clock: systemClock,
      progress: context.output.progress,
      signal: context.signal,
    },
  )
  const startedAfterMs = Math.round(systemClock.monotonicMs() - startedMs)
  const { sockets, processId } = running.status
  context.output.result(
    { schema: 1, machine, point: point.id, startedAfterMs, processId, sockets },
    () => `${machine} runs, ${startedAfterMs} ms after the order.`,
  )
  try {
    await running.hydrated()
  } finally {
    await running.close()
  }
  context.output.note(`All data of ${machine} has moved in; it needs the repository no more.`)
}
