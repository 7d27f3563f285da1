/**
 * The jobs `start-machine`, `stop-machine` (stop or deallocate) and `restart-machine`, and `revive-machine`, which starts one
 * again that is wanted to run and died. What the API refuses was refused when they were asked for; what changed since is done.
 */
import { isHoldfastError } from '#base'
import { ruleCommand } from '#domain'
import type { JobDefinition } from '../../port.ts'
import {
  hostFull,
  type MachineIdInput,
  type MachineJobParts,
  movePower,
  readIdInput,
  recordRest,
  settling,
  startSteps,
  stopSteps,
} from './machine-job.ts'
import { type BackingChange, changeMachine, findOwnMachine } from './machine-records.ts'

export const START_MACHINE_JOB = 'start-machine'
export const STOP_MACHINE_JOB = 'stop-machine'
export const RESTART_MACHINE_JOB = 'restart-machine'
export const REVIVE_MACHINE_JOB = 'revive-machine'

export type StopMachineJobInput = MachineIdInput &
  Readonly<{
    to: 'stopped' | 'deallocated'
    /** Without asking the guest. */
    plug: boolean
  }>

async function finish({ catalog, source }: MachineJobParts, id: string): Promise<void> {
  await catalog.write((trx) => changeMachine(trx, id, { state: 'Succeeded' }, source))
}

export function startMachineJob(parts: MachineJobParts): JobDefinition<MachineIdInput, null> {
  return {
    name: START_MACHINE_JOB,
    version: 1,
    parse: readIdInput,
    run: (job, { id }) =>
      settling(job, parts, id, async () => {
        const admission = await startSteps(job, parts, id)
        if (!admission.admitted) throw hostFull(admission.why)
        await job.step('finish', () => finish(parts, id))
        return null
      }),
  }
}

export function stopMachineJob(parts: MachineJobParts): JobDefinition<StopMachineJobInput, null> {
  const { catalog } = parts
  return {
    name: STOP_MACHINE_JOB,
    version: 1,
    parse: (given) => readIdInput(given) as StopMachineJobInput,
    run: (job, { id, to, plug }) =>
      settling(job, parts, id, async () => {
        const between = to === 'stopped' ? 'stopping' : 'deallocating'
        await job.step('announce', async () => {
          const { own } = await findOwnMachine(catalog, id)
          if (ruleCommand(to === 'stopped' ? 'powerOff' : 'deallocate', own) !== 'go') return
          const more: BackingChange = { wanted: 'off' }
          await catalog.write((trx) => movePower(trx, parts, id, { to: between, more }))
        })
        await stopSteps(job, parts, id, { how: plug ? 'plug' : 'ask' })
        await job.step('record', () => recordRest(parts, id, to, { wanted: 'off' }))
        await job.step('finish', () => finish(parts, id))
        return null
      }),
  }
}

/** The guest is shut down and the machine started again, as Azure does: devices and sizes are new, the room stays its own. */
export function restartMachineJob(parts: MachineJobParts): JobDefinition<MachineIdInput, null> {
  const { catalog } = parts
  return {
    name: RESTART_MACHINE_JOB,
    version: 1,
    parse: readIdInput,
    run: (job, { id }) =>
      settling(job, parts, id, async () => {
        await job.step('announce', async () => {
          const { own } = await findOwnMachine(catalog, id)
          if (own.power === 'running') await catalog.write((trx) => movePower(trx, parts, id, { to: 'stopping' }))
        })
        await stopSteps(job, parts, id, { how: 'ask', label: 'first ' })
        await job.step('record the stop', () => recordRest(parts, id, 'stopped'))
        const admission = await startSteps(job, parts, id)
        if (!admission.admitted) throw hostFull(admission.why)
        await job.step('finish', () => finish(parts, id))
        return null
      }),
  }
}

/** Only one that is still wanted to run, is off, and that no operation changes: jobs of one machine run one after the other. */
export function reviveMachineJob(parts: MachineJobParts): JobDefinition<MachineIdInput, boolean> {
  const { catalog } = parts
  return {
    name: REVIVE_MACHINE_JOB,
    version: 1,
    parse: readIdInput,
    run: async (job, { id }) => {
      const isWanted = await job.step('look', async () => {
        const found = await findOwnMachine(catalog, id).catch((error: unknown) => {
          if (isHoldfastError(error, 'machine_not_there')) return undefined
          throw error
        })
        if (found?.record.state !== 'Succeeded') return false
        return (
          found.own.wanted === 'running' && found.own.power === 'stopped' && ruleCommand('start', found.own) === 'go'
        )
      })
      if (!isWanted) return false
      const start = async (): Promise<boolean> => {
        const admission = await startSteps(job, parts, id)
        if (!admission.admitted) throw hostFull(admission.why)
        return true
      }
      return settling(job, parts, id, start, true)
    },
  }
}
