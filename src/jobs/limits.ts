/** The engine's bounds, each with its reason. */
import { KIB } from '#base'

/** Inputs, outputs and signals are facts about data, never the data: it moves between hypervisor and store. */
export const JOB_VALUE_BYTES_MAX = 256 * KIB

/** A workflow is replayed from its beginning after every pause; more steps than this belong into child jobs. */
export const JOB_STEPS_MAX = 10_000

/** A plan has groups, groups have machines, machines have disks: four levels are used, eight are enough. */
export const JOB_DEPTH_MAX = 8

/** A step under which the process died this often is held to be what kills it. */
export const STEP_CRASHES_MAX = 50

/** Events kept in one answer. */
export const EVENTS_PAGE_MAX = 1000
