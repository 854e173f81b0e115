import { RudderAnalytics } from '@rudderstack/analytics-js/legacy-bundled'
import { sender } from './rudder-calls.mjs'

Object.assign(globalThis, sender(new RudderAnalytics()))
