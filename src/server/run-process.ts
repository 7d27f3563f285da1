/**
 * The bodies of the two long-running commands: set up, say one line when ready, end well on SIGTERM and SIGINT. A second
 * signal ends at once; the jobs lose nothing by it.
 */
import { MIB } from '#base'
import { createLogger, createRotatingFile, type Logger } from '#runtime'
import { systemClock, systemRandom } from '#runtime'
import type { Face } from './face/open-face.ts'
import type { Home } from './home.ts'
import { serve, type ServeOptions } from './serve.ts'
import { startWorker, type WorkerOptions } from './worker/worker.ts'

const EXIT_SECOND_SIGNAL = 130

/** Resolves with the first SIGTERM or SIGINT. */
function firstSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let asked = false
    const heed = (signal: NodeJS.Signals): void => {
      if (asked) process.exit(EXIT_SECOND_SIGNAL)
      asked = true
      resolve(signal)
    }
    process.on('SIGTERM', heed)
    process.on('SIGINT', heed)
  })
}

export type ServeCommand = Omit<ServeOptions, 'clock' | 'random' | 'logger'> &
  Readonly<{ logger?: Logger; say: (line: string, face: Face | undefined) => void }>

function readyLine(home: Home, face: Face | undefined): string {
  const at = face === undefined ? '' : `${face.record.endpoint}, `
  const ready = `Holdfast is ready (${at}home ${home.folder}, process ${process.pid}).`
  const secret = face?.administrator.secret
  if (secret === undefined) return ready
  const { clientId, secretPath } = face?.administrator ?? { clientId: '', secretPath: '' }
  return `${ready}\nFirst start: the administrator is ${clientId}, its secret ${secret} (also in ${secretPath}; not shown again).`
}

/** Serves until told to stop. @throws ServerError, CatalogError */
export async function runServe(command: ServeCommand): Promise<void> {
  const logger = command.logger ?? createLogger('serve')
  const ending = firstSignal()
  const served = await serve({ ...command, logger, clock: systemClock, random: systemRandom })
  command.say(readyLine(command.home, served.face), served.face)
  logger.info({ signal: await ending }, 'stopping')
  await served.stop()
}

const WORKER_LOG = { bytesMax: 8 * MIB, kept: 4 }

/** The worker's log, in the home: at most WORKER_LOG.bytesMax times one more than are kept. */
export function workerLogger(home: Home): Logger {
  return createLogger('worker', createRotatingFile(home.log('worker'), WORKER_LOG))
}

export type WorkerCommand = Omit<WorkerOptions, 'logger'> & Readonly<{ logger?: Logger }>

/** Works until told to stop or to retire. @throws ServerError */
export async function runWorker(command: WorkerCommand): Promise<void> {
  const logger = command.logger ?? workerLogger(command.home)
  const ending = firstSignal()
  const worker = await startWorker({ ...command, logger })
  logger.info({ pid: process.pid }, 'ready')
  await Promise.race([ending, worker.retired])
  await worker.stop()
}
