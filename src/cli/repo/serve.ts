/** holdfast repo serve: a disk of a point as a read-only NBD export, until interrupted. Nothing is restored for it. */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { DiskRecord, PointRecord } from '#engine/repository'
import { type CommandContext, runCommandHandler } from '../command.ts'
import { chooseDisk, parseLun } from './choose-disk.ts'
import { makeRepoCommand, type OpenRepository, type RepoOptions, withRepository } from './open.ts'
import { whileReading } from './reading.ts'

type ServeCommandOptions = RepoOptions & Readonly<{ disk?: number; socket: string; machine?: string }>

export function serveCommand(): Command {
  return makeRepoCommand({
    usage: 'serve <store> <point>',
    summary: 'serve a disk of a point over NBD, read-only',
    description:
      'Serves one disk as the default export of an NBD server on a unix socket, until interrupted. Chunks are fetched as ' +
      'they are read, and each is checked. Says where on stdout as soon as clients may connect.',
    examples: [
      'holdfast repo serve /srv/backup latest --disk 0 --socket /run/point.nbd',
      "qemu-img convert -f raw 'nbd+unix:///?socket=/run/point.nbd' -O qcow2 disk.qcow2    # holdfast repo serve is running",
    ],
  })
    .requiredOption('-s, --socket <path>', 'the socket to make')
    .option('-d, --disk <lun>', 'the disk; may be left out if there is one only', parseLun)
    .option('--machine <name>', 'look among the points of this machine only')
    .action((location: string, selector: string, options: ServeCommandOptions) =>
      runCommandHandler(options, (context) =>
        withRepository(location, options, context, async (opened) => {
          const point = opened.repository.findPoint(selector, options.machine)
          const disk = await chooseDisk(point, options.disk)
          await whileReading(opened.repository, `serving ${point.id}`, () =>
            serveDisk(opened, point, disk, resolve(options.socket), context),
          )
        }),
      ),
    )
}

async function serveDisk(
  { repository, descriptor }: OpenRepository,
  point: PointRecord,
  disk: DiskRecord,
  socketPath: string,
  { output, signal }: CommandContext,
): Promise<void> {
  const { serveNbd } = await import('#engine/block')
  const { openVersion } = await import('#engine/transfer')
  const { systemClock } = await import('#runtime')
  const source = await openVersion(repository, disk, { store: descriptor })
  try {
    const nbdExport = { source, description: `${point.machine} ${point.takenAt} disk ${disk.lun}` }
    const server = await serveNbd({
      listen: { socketPath },
      exports: (name) => (name === '' ? nbdExport : undefined),
      list: () => [''],
      clock: systemClock,
    })
    const uri = `nbd+unix:///?socket=${encodeURI(socketPath)}`
    output.result(
      { schema: 1, point: point.id, lun: disk.lun, sizeBytes: disk.virtualSizeBytes, socketPath, uri },
      () => `Serving disk ${disk.lun} of ${point.id} at ${uri}`,
    )
    await aborted(signal)
    await server.close()
  } finally {
    await source.close()
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
