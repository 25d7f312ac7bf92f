import { z } from 'zod'
import { bounded, type Docker, unpooled } from './client.ts'
import { list, map, text } from './json.ts'
import { ask } from './queries.ts'

/**
 * What an engine says of the swarm that it is in. All but its own membership is known to managers alone. Without a
 * majority of its managers a swarm has no leader; a manager then answers with an error at once, or, while an election
 * is on or it is demoted, with nothing for up to 15 s.
 */

/** ms. A swarm answers within few, or else a question that is asked again is answered sooner. */
const limit = 3000

/** Of GET /info. */
const Membership = z
  .object({
    Swarm: z
      .object({
        NodeID: text,
        NodeAddr: text,
        LocalNodeState: text,
        ControlAvailable: z.boolean().default(false),
      })
      .nullish(),
  })
  .transform(({ Swarm }) =>
    Swarm?.NodeID
      ? {
          node: Swarm.NodeID,
          /** What it advertises. */
          address: Swarm.NodeAddr,
          /** Whether this engine can be asked about the swarm. */
          manager: Swarm.ControlAvailable,
          /** Whether it has not found its place in the swarm yet; it may turn out a manager. */
          pending: Swarm.LocalNodeState === 'pending',
        }
      : undefined,
  )
export type SwarmMembership = NonNullable<z.output<typeof Membership>>

/** "198.51.100.1:2377" and "[2001:db8::1]:2377" -> the address. */
const withoutPort = (endpoint: string): string => endpoint.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1')

const Node = z
  .object({
    ID: z.string(),
    Spec: z.object({ Role: text, Availability: text }),
    /** Unknown until the node has been heard of once. */
    Description: z.object({ Hostname: text }).nullish(),
    Status: z.object({ State: text, Addr: text }).nullish(),
    ManagerStatus: z.object({ Leader: z.boolean().nullish(), Reachability: text, Addr: text }).nullish(),
  })
  .transform((raw) => {
    const heard = raw.Status?.Addr ?? ''
    return {
      id: raw.ID,
      name: raw.Description?.Hostname || raw.ID,
      role: raw.Spec.Role === 'manager' ? ('manager' as const) : ('worker' as const),
      leader: raw.ManagerStatus?.Leader ?? false,
      availability: raw.Spec.Availability,
      /** unknown, ready, down or disconnected. */
      state: raw.Status?.State ?? '',
      /** reachable, unreachable or unknown; "" for a worker. */
      reachability: raw.ManagerStatus?.Reachability ?? '',
      /** "" where it is not known. A leader has not heard of itself from anywhere: it says 0.0.0.0 of itself. */
      address: heard === '' || heard === '0.0.0.0' ? withoutPort(raw.ManagerStatus?.Addr ?? '') : heard,
    }
  })
export type SwarmNode = z.output<typeof Node>

const Port = z
  .object({ Protocol: text, TargetPort: z.number(), PublishedPort: z.number().nullish(), PublishMode: text })
  .transform((raw) => ({
    port: raw.TargetPort,
    protocol: raw.Protocol || 'tcp',
    published: raw.PublishedPort || undefined,
    /** ingress: on every node of the swarm; host: on the node of the task. */
    mode: raw.PublishMode || 'ingress',
  }))
export type SwarmPort = z.output<typeof Port>

const Service = z
  .object({
    ID: z.string(),
    Spec: z.object({
      Name: z.string(),
      Labels: map(z.string()),
      TaskTemplate: z.object({
        ContainerSpec: z.object({ Image: text, Env: list(z.string()), Labels: map(z.string()) }).nullish(),
        PluginSpec: z.object({ Remote: text }).nullish(),
      }),
      Mode: z.object({
        Replicated: z.object({ Replicas: z.number().nullish() }).nullish(),
        Global: z.unknown().optional(),
        ReplicatedJob: z.object({ TotalCompletions: z.number().nullish() }).nullish(),
      }),
    }),
    Endpoint: z.object({ Ports: list(Port) }).nullish(),
  })
  .transform(({ ID, Spec, Endpoint }) => ({
    id: ID,
    name: Spec.Name,
    image: Spec.TaskTemplate.ContainerSpec?.Image || Spec.TaskTemplate.PluginSpec?.Remote || '',
    ...modeOf(Spec.Mode),
    /** Of the service, and of its containers. */
    labels: Spec.Labels,
    containerLabels: Spec.TaskTemplate.ContainerSpec?.Labels ?? {},
    /** NAME=value, of the service alone, not of its image: SERVICE_... alone, as nothing else is used. */
    environment: (Spec.TaskTemplate.ContainerSpec?.Env ?? []).filter((line) => line.startsWith('SERVICE_')),
    /** None until the swarm has allotted them. */
    ports: Endpoint?.Ports ?? [],
  }))
export type SwarmService = z.output<typeof Service>

/** How many tasks are wanted is said for those that are not of one task a node. */
const modeOf = (mode: {
  Replicated?: { Replicas?: number | null | undefined } | null | undefined
  Global?: unknown
  ReplicatedJob?: { TotalCompletions?: number | null | undefined } | null | undefined
}): { mode: string; replicas?: number } => {
  if (mode.Replicated) return { mode: 'replicated', replicas: mode.Replicated.Replicas ?? 0 }
  if (mode.ReplicatedJob)
    return { mode: 'replicated-job', replicas: mode.ReplicatedJob.TotalCompletions ?? 0 }
  return { mode: mode.Global ? 'global' : 'global-job' }
}

const Task = z
  .object({
    ID: z.string(),
    ServiceID: text,
    /** "" until it has been given to a node. */
    NodeID: text,
    Slot: z.number().nullish(),
    Status: z.object({
      State: z.string(),
      Err: text,
      ContainerStatus: z.object({ ContainerID: text }).nullish(),
    }),
    DesiredState: z.string(),
  })
  .transform((raw) => ({
    id: raw.ID,
    service: raw.ServiceID,
    node: raw.NodeID,
    /** Undefined for the tasks of a global service: one a node. */
    slot: raw.Slot || undefined,
    state: raw.Status.State,
    wanted: raw.DesiredState,
    error: raw.Status.Err,
    containerId: raw.Status.ContainerStatus?.ContainerID ?? '',
  }))
export type SwarmTask = z.output<typeof Task>

/** A secret or a config. What a config holds comes with it, and ends here. */
const Named = z
  .object({ ID: z.string(), Spec: z.object({ Name: z.string() }) })
  .transform((raw) => ({ id: raw.ID, name: raw.Spec.Name }))
export type SwarmNamed = z.output<typeof Named>

/**
 * Whether this engine is in a swarm; undefined where it is not. An engine that shuts down goes on answering for seconds
 * on the connections that it has, and then says that it is in none. It takes no new ones: so this is asked over one.
 */
export const swarmMembership = async (docker: Docker) => {
  const anew = unpooled(docker)
  return ask('ask the Docker Engine about its swarm', Membership, (signal) =>
    bounded(anew.info, anew, signal),
  )
}

/** These five are for managers: others refuse (`unavailable`). */
export const listSwarmNodes = (docker: Docker) =>
  ask('list nodes', z.array(Node), (signal) => bounded(docker.listNodes, docker, signal), limit)

export const listSwarmServices = (docker: Docker) =>
  ask('list services', z.array(Service), (signal) => bounded(docker.listServices, docker, signal), limit)

/** With those that have ended, of which a swarm keeps the last five a slot. */
export const listSwarmTasks = (docker: Docker) =>
  ask('list tasks', z.array(Task), (signal) => bounded(docker.listTasks, docker, signal), limit)

export const listSwarmSecrets = (docker: Docker) =>
  ask('list secrets', z.array(Named), (signal) => bounded(docker.listSecrets, docker, signal), limit)

/** The answer holds the data of all configs. */
export const listSwarmConfigs = (docker: Docker) =>
  ask('list configs', z.array(Named), (signal) => bounded(docker.listConfigs, docker, signal), limit)
