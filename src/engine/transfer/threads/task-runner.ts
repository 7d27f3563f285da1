/**
 * The work that runs in threads, as one small shape, so that the same code runs inline (tests, small jobs) and in a pool.
 * Tasks and results are structured-clone safe; bytes stay in the thread that reads or writes them.
 */
import { type BackupInit, type BackupResult, type BackupTask, startBackupRunner } from './backup-runner.ts'
import { type DecodeInit, type DecodeResult, type DecodeTask, startDecodeRunner } from './decode-runner.ts'
import { type ReplaceInit, type ReplaceResult, type ReplaceTask, startReplaceRunner } from './replace-runner.ts'
import { type RestoreInit, type RestoreResult, type RestoreTask, startRestoreRunner } from './restore-runner.ts'
import { startVerifyRunner, type VerifyInit, type VerifyResult, type VerifyTask } from './verify-runner.ts'

export type TaskKinds = {
  backup: { init: BackupInit; task: BackupTask; result: BackupResult }
  decode: { init: DecodeInit; task: DecodeTask; result: DecodeResult }
  replace: { init: ReplaceInit; task: ReplaceTask; result: ReplaceResult }
  restore: { init: RestoreInit; task: RestoreTask; result: RestoreResult }
  verify: { init: VerifyInit; task: VerifyTask; result: VerifyResult }
}
export type TaskKind = keyof TaskKinds

/** Runs one task after the other. `close` gives back descriptors and connections, whatever happened before. */
export interface TaskRunner<K extends TaskKind> {
  run(task: TaskKinds[K]['task']): Promise<TaskKinds[K]['result']>
  /** Told of a task that waits for its turn; what it needs may be read meanwhile. Never throws: `run` does. */
  foresee?(task: TaskKinds[K]['task']): void
  close(): Promise<void>
}

const START: { [K in TaskKind]: (init: TaskKinds[K]['init']) => Promise<TaskRunner<K>> } = {
  backup: startBackupRunner,
  decode: startDecodeRunner,
  replace: startReplaceRunner,
  restore: startRestoreRunner,
  verify: startVerifyRunner,
}

export function startRunner<K extends TaskKind>(kind: K, init: TaskKinds[K]['init']): Promise<TaskRunner<K>> {
  return START[kind](init)
}
