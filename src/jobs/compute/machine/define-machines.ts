/** The jobs and tasks of machines, as `serve` and the worker take them. */
import type { JobEngine } from '../../port.ts'
import type { TaskHandler } from '../../tasks.ts'
import { MACHINE_TYPE } from '../adopt-machine.ts'
import { changeMachineJob } from './change-machine.ts'
import { createMachineJob } from './create-machine.ts'
import { DELETE_MACHINE_JOB, deleteMachineJob } from './delete-machine.ts'
import type { MachineHost } from './machine-host.ts'
import type { MachineJobParts } from './machine-job.ts'
import {
  ATTACH_DISK_TASK,
  attachDiskTask,
  DETACH_DISK_TASK,
  detachDiskTask,
  FORGET_MACHINE_TASK,
  forgetMachineTask,
  START_MACHINE_TASK,
  startMachineTask,
  STOP_MACHINE_TASK,
  stopMachineTask,
} from './machine-tasks.ts'
import { restartMachineJob, reviveMachineJob, startMachineJob, stopMachineJob } from './power-machine.ts'
import { RUN_COMMAND_TASK, runCommandJob, runCommandTask } from './run-command.ts'

/** For `delete-group`. */
export const machineDeleteJobs: readonly (readonly [type: string, job: string])[] = [
  [MACHINE_TYPE.toLowerCase(), DELETE_MACHINE_JOB],
]

export function defineMachineJobs(engine: JobEngine, parts: MachineJobParts): void {
  engine.define(createMachineJob(parts))
  engine.define(startMachineJob(parts))
  engine.define(stopMachineJob(parts))
  engine.define(restartMachineJob(parts))
  engine.define(reviveMachineJob(parts))
  engine.define(changeMachineJob(parts))
  engine.define(deleteMachineJob(parts))
  engine.define(runCommandJob(parts))
}

export function machineTasks(host: MachineHost): readonly (readonly [name: string, task: TaskHandler])[] {
  return [
    [START_MACHINE_TASK, startMachineTask(host)],
    [STOP_MACHINE_TASK, stopMachineTask(host)],
    [FORGET_MACHINE_TASK, forgetMachineTask(host)],
    [ATTACH_DISK_TASK, attachDiskTask(host)],
    [DETACH_DISK_TASK, detachDiskTask(host)],
    [RUN_COMMAND_TASK, runCommandTask(host)],
  ]
}
